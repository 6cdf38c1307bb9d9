"""One synthetic photograph and the truth about it, from a seed and a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import Raster, interpolate, rasterize
from ag3d.preprocessing.synthetic import background, camera, shading
from ag3d.preprocessing.synthetic.garments import Layer, dress
from ag3d.preprocessing.synthetic.geometry import Scene, bone_transforms_of, build_scene
from ag3d.preprocessing.synthetic.meshes import Meshes
from ag3d.preprocessing.synthetic.outfits import Outfit, sample_outfit
from ag3d.preprocessing.synthetic.pose_sampler import Pose, plant_feet, sample_pose
from ag3d.preprocessing.synthetic.proportions import femininity
from ag3d.preprocessing.synthetic.surface import paint

SAMPLES = 1.5  # rendered pixels per pixel of the photograph, along each side


@dataclass
class Photograph:
    jpeg: bytes
    upright: np.ndarray  # [H,W,3] uint8, before JPEG
    mask: np.ndarray  # [H,W] uint8, share of the person in each pixel
    normals: np.ndarray  # [H,W,3] uint8 normal map
    truth: dict[str, Any]


@dataclass
class Stand:
    """How the person stands in the label's world, and the window of the picture that shows x, y in [-1,1]."""

    betas: np.ndarray
    body_pose: np.ndarray  # [69]
    global_orient: np.ndarray  # [3]
    transl: np.ndarray  # [3]
    centre: np.ndarray  # [2] px
    half: float  # px per metre
    floor: np.ndarray  # [3] a point of the floor, world
    up: np.ndarray  # [3] the floor's normal, world


def make_photograph(body: Body, meshes: Meshes, seed: int, number: int) -> Photograph:
    """Photograph `number` of `seed`; it does not depend on how many others are made."""
    outfit_rng, pose_rng, background_rng, camera_rng = np.random.default_rng([seed, number]).spawn(4)
    betas = np.clip(outfit_rng.normal(0, 0.95, 10), -2.2, 2.2).astype(np.float32)
    outfit = sample_outfit(outfit_rng, betas, femininity(body, betas))
    pose = sample_pose(pose_rng)
    plant_feet(body, betas, pose)
    layers = dress(meshes, outfit)
    width, height = camera.sample_size(camera_rng)
    pitch = float(np.clip(camera_rng.normal(0.07, 0.05), 0.0, 0.24))
    stand = _stand(body, betas, pose, pitch, width, height, camera_rng)
    bone_transforms = bone_transforms_of(body, betas, stand.body_pose, stand.global_orient, stand.transl)
    scene = build_scene(layers, meshes, betas, bone_transforms)

    view = background.View(
        width, height, float(stand.centre[1] + stand.half * stand.floor[1]), stand.half, pitch, float(stand.centre[0])
    )
    kind, picture = background.sample_background(view, background_rng)
    light = shading.sample_light(background_rng, kind in ("street", "nature"))
    picture = picture * _ground_shadow(scene, stand, light, width, height)[..., None]
    colour, cover, normals = _render(
        scene, stand, layers, outfit, meshes, light, width, height, exposure=float(background_rng.uniform(0.85, 1.1))
    )
    picture = colour + picture * (1 - cover[..., None])
    upright = camera.expose(picture.astype(np.float32), camera_rng)
    jpeg, orientation, quality = camera.encode(upright, camera_rng)
    truth = _truth(body, stand, pose, outfit, width, height)
    truth |= {"background": kind, "orientation": orientation, "quality": quality, "pitch": np.degrees(pitch)}
    mask = (cover * 255 + 0.5).astype(np.uint8)
    return Photograph(jpeg, upright, mask, normals, truth)


def _stand(
    body: Body, betas: np.ndarray, pose: Pose, pitch: float, width: int, height: int, rng: np.random.Generator
) -> Stand:
    turn = Rotation.from_euler("x", np.pi + pitch) * Rotation.from_euler("y", pose.yaw)
    orientation = Rotation.from_euler("z", rng.normal(0, 0.008)) * turn * Rotation.from_euler("xyz", pose.lean)
    orient = orientation.as_rotvec().astype(np.float32)
    posed = body(*(torch.as_tensor(a).float().reshape(1, -1) for a in (betas, pose.body_pose, orient, np.zeros(3))))
    vertices = posed.vertices[0].numpy()
    low, high = vertices.min(0), vertices.max(0)
    transl = -(low + high) / 2
    extent = (high - low)[:2]
    half = min(rng.uniform(0.66, 0.9) * height / (extent[1] + 0.06), 0.92 * width / (extent[0] + 0.08))
    margin = np.array([width, height]) - half * (extent + 0.06)
    centre = np.array([width, height]) / 2 + margin * np.array(
        [np.clip(rng.normal(0, 0.12), -0.4, 0.4), np.clip(rng.normal(0.08, 0.12), -0.35, 0.38)]
    )
    up = turn.apply([0.0, 1.0, 0.0])
    feet = vertices + transl
    soles = feet[(feet @ up).argmin()] + 0.004 * -up
    return Stand(betas, pose.body_pose.reshape(69), orient, transl.astype(np.float32), centre, float(half), soles, up)


def _render(
    scene: Scene,
    stand: Stand,
    layers: list[Layer],
    outfit: Outfit,
    meshes: Meshes,
    light: shading.Light,
    width: int,
    height: int,
    exposure: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The person alone: premultiplied sRGB [H,W,3], cover [H,W] in 0…1, normal map [H,W,3] uint8."""
    pixels = stand.centre + stand.half * scene.vertices[:, :2]
    x0, y0 = np.clip(np.floor(pixels.min(0)).astype(int) - 3, 0, None)
    x1, y1 = np.minimum(np.ceil(pixels.max(0)).astype(int) + 3, (width, height))
    screen = np.concatenate([(pixels - (x0, y0)) * SAMPLES, scene.vertices[:, 2:]], 1).astype(np.float32)
    faces = _visible(screen, scene, layers)
    index = torch.as_tensor(scene.faces[faces])
    raster = rasterize(torch.as_tensor(screen), index, round(float(y1 - y0) * SAMPLES), round(float(x1 - x0) * SAMPLES))
    metre = stand.half * SAMPLES
    hit = raster.face_index >= 0
    values = _gather(raster, index, np.concatenate([scene.canonical, scene.normals], 1))
    canonical, normals = values[:, :3], F.normalize(values[:, 3:6], dim=1)
    points = _world(raster, hit, stand, x0, y0)
    normals = torch.where(normals[:, 2:] < 0, -normals, normals)  # the inside of cloth
    layer = torch.as_tensor(scene.layer[faces])[raster.face_index[hit]]
    surface = paint(canonical.numpy(), layer.numpy(), layers, outfit, meshes)
    normals = shading.bump(normals, surface.height, raster, layer, metre)
    lit = shading.soften(shading.shadow(scene, points, light), hit, (0.004 + 0.01 * light.softness) * metre)
    linear = shading.light_up(surface, normals, lit, shading.occlusion(raster, metre), light)
    colours = shading.develop(linear.numpy(), exposure)
    box = (slice(y0, y1), slice(x0, x1))
    box_size = (int(x1 - x0), int(y1 - y0))
    out = np.zeros((height, width, 3), np.float32)
    cover = np.zeros((height, width), np.float32)
    fine = np.zeros((*hit.shape, 3), np.float32)
    fine[hit.numpy()] = colours
    out[box] = cv2.resize(fine, box_size, interpolation=cv2.INTER_AREA)
    cover[box] = cv2.resize(hit.numpy().astype(np.float32), box_size, interpolation=cv2.INTER_AREA)
    fine[hit.numpy()] = normals.numpy()
    return out, cover, _normal_map(cv2.resize(fine, box_size, interpolation=cv2.INTER_AREA), cover, box)


def _visible(screen: np.ndarray, scene: Scene, layers: list[Layer]) -> np.ndarray:
    """Triangles that may be seen: closed surfaces only from outside."""
    corners = screen[scene.faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    facing = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
    closed = np.array([layer.material in ("skin",) for layer in layers])[scene.layer]
    return np.flatnonzero(facing | ~closed)


def _gather(raster: Raster, faces: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    hit = raster.face_index >= 0
    return interpolate(raster, faces, torch.as_tensor(values).float())[hit]


def _world(raster: Raster, hit: torch.Tensor, stand: Stand, x0: float, y0: float) -> torch.Tensor:
    """World positions [n,3] of the hit pixels."""
    row, column = torch.nonzero(hit, as_tuple=True)
    x = ((column + 0.5) / SAMPLES + x0 - stand.centre[0]) / stand.half
    y = ((row + 0.5) / SAMPLES + y0 - stand.centre[1]) / stand.half
    return torch.stack([x.float(), y.float(), raster.depth[hit]], 1)


def _normal_map(mean: np.ndarray, cover: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    out = np.full((*cover.shape, 3), 255, np.uint8)
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    inside = cover[box] >= 0.5
    out[box][inside] = np.round(127.5 * (mean / np.maximum(length, 1e-6) + 1))[inside].astype(np.uint8)
    return out


def _ground_shadow(scene: Scene, stand: Stand, light: shading.Light, width: int, height: int) -> np.ndarray:
    """What share [H,W] of its light each point of the picture keeps: the cast shadow and the dark under the soles."""
    toward = light.key * [1, -1, -1]
    rise = (scene.vertices - stand.floor) @ stand.up
    fall = max(float(toward @ stand.up), 0.25)
    flat = scene.vertices - (rise / fall)[:, None] * toward
    factor = 4
    cast_pixels = (stand.centre + stand.half * flat[:, :2]) / factor
    cast = np.zeros((height // factor, width // factor), np.uint8)
    _splat(cast, cast_pixels)
    soft = (0.01 + 0.05 * light.softness) * stand.half / factor
    shade = cv2.GaussianBlur(cv2.dilate(cast, np.ones((5, 5))).astype(np.float32) / 255, (0, 0), max(soft, 0.8))
    contact_mask = np.zeros_like(cast)
    under = scene.vertices - rise[:, None] * stand.up
    contact_pixels = (stand.centre + stand.half * under[:, :2]) / factor
    _splat(contact_mask, contact_pixels[rise < 0.05])
    spots = cv2.dilate(contact_mask, np.ones((5, 5))).astype(np.float32)
    contact = cv2.GaussianBlur(spots / 255, (0, 0), max(0.018 * stand.half / factor, 0.8))
    light_share = (1 - (0.5 - 0.33 * light.softness) * shade) * (1 - 0.55 * np.clip(contact, 0, 1))
    return cv2.resize(light_share, (width, height), interpolation=cv2.INTER_LINEAR)


def _splat(picture: np.ndarray, points: np.ndarray) -> None:
    """Set the pixels under points [n,2] (in place); the meshes are fine enough to leave small gaps only."""
    column, row = points.astype(int).T
    inside = (column >= 0) & (row >= 0) & (column < picture.shape[1]) & (row < picture.shape[0])
    picture[row[inside], column[inside]] = 255


def _truth(body: Body, stand: Stand, pose: Pose, outfit: Outfit, width: int, height: int) -> dict[str, Any]:
    parameters = {name: getattr(stand, name) for name in ("betas", "body_pose", "global_orient", "transl")}
    out = body(*(torch.as_tensor(value).float().reshape(1, -1) for value in parameters.values()))
    joints, landmarks = out.joints[0].numpy(), out.landmarks[0].numpy()

    def pixels(points: np.ndarray) -> np.ndarray:
        return stand.centre + stand.half * points[:, :2]

    return {
        "width": width,
        "height": height,
        "centre": stand.centre,
        "half": stand.half,
        **parameters,
        "joints_2d": pixels(joints),
        "joints_3d": joints,
        "landmarks_2d": pixels(landmarks),
        "landmarks_3d": landmarks,
        "pose": pose.kind,
        "yaw": float(np.degrees((pose.yaw + np.pi) % (2 * np.pi) - np.pi)),
        **outfit.attributes,
    }
