"""Light on a person: a key light with soft shadows, light from above and below, highlights, scattering in skin."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ag3d.model.rendering.rasterizer import Raster, rasterize
from ag3d.preprocessing.synthetic.geometry import Scene
from ag3d.preprocessing.synthetic.surface import Paint


@dataclass
class Light:
    """Directions in view axes (x right, y up, z to the viewer)."""

    key: np.ndarray  # [3] unit, towards the light
    strength: float
    ambient: float
    tint: np.ndarray  # [3] colour of the key light
    sky: np.ndarray  # [3] colour of the light from above
    bounce: np.ndarray  # [3] and from below
    rim: float
    softness: float  # 0 hard … 1 overcast: how much of a shadow's depth is filled


def sample_light(rng: np.random.Generator, outdoor: bool) -> Light:
    azimuth, elevation = rng.normal(0, 0.7), rng.uniform(0.35, 1.1)
    key = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), abs(np.cos(azimuth)) * np.cos(elevation) + 0.15]
    )
    warm = rng.normal(0, 0.04)
    softness = rng.uniform(0.15, 0.85)
    return Light(
        key / np.linalg.norm(key),
        strength=float(rng.uniform(0.75, 1.15) * (1.15 - 0.5 * softness)),
        ambient=float(rng.uniform(0.5, 0.7) + 0.25 * softness),
        tint=np.array([1 + warm, 1.0, 1 - warm]),
        sky=np.array([0.93, 0.97, 1.05]) if outdoor else np.array([1.0, 1.0, 1.0]) + rng.normal(0, 0.02, 3),
        bounce=np.array([0.95, 0.92, 0.88]) * rng.uniform(0.4, 0.75),
        rim=rng.uniform(0, 0.25),
        softness=float(softness),
    )


def bump(
    normals: torch.Tensor, height: torch.Tensor, raster: Raster, layer: torch.Tensor, metre: float
) -> torch.Tensor:
    """Tilt the unit normals [n,3] of the hit pixels by the relief `height` [n] (metres; `metre`: pixels per metre).

    Surface gradients from differences between neighbouring pixels of one layer (Mikkelsen 2010), orthographic view.
    """
    hit = raster.face_index >= 0
    rows, columns = hit.shape
    relief, kind = torch.zeros(rows, columns), torch.full((rows, columns), -1)
    relief[hit], kind[hit] = height, layer
    depth = torch.where(hit, raster.depth, torch.zeros(()))
    slope_x, slope_y = torch.zeros(rows, columns), torch.zeros(rows, columns)
    joined = (kind[:, 1:] == kind[:, :-1]) & ((depth[:, 1:] - depth[:, :-1]).abs() < 0.01)
    slope_x[:, :-1] = (relief[:, 1:] - relief[:, :-1]) * joined * metre
    joined = (kind[1:] == kind[:-1]) & ((depth[1:] - depth[:-1]).abs() < 0.01)
    slope_y[:-1] = (relief[:-1] - relief[1:]) * joined * metre  # y up
    x, y, z = normals.unbind(1)
    z = z.clamp_min(0.25)
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    along_x, along_y = torch.stack([one, zero, -x / z], 1), torch.stack([zero, one, -y / z], 1)
    first, second = torch.linalg.cross(along_y, normals), torch.linalg.cross(normals, along_x)
    determinant = (along_x * first).sum(1, keepdim=True)
    gradient = slope_x[hit].clamp(-0.7, 0.7)[:, None] * first + slope_y[hit].clamp(-0.7, 0.7)[:, None] * second
    tilted = F.normalize(determinant.abs() * normals - determinant.sign() * gradient, dim=1)
    return F.normalize(torch.cat([tilted[:, :2], tilted[:, 2:].clamp_min(0.02)], 1), dim=1)  # what is seen faces us


def occlusion(raster: Raster, metre: float) -> torch.Tensor:
    """Darkening [n] in 0…1 of hit pixels that lie behind nearer ones close by (after Luft et al. 2006)."""
    hit = (raster.face_index >= 0).numpy()
    depth = np.where(hit, raster.depth.numpy(), 0).astype(np.float32)
    total = np.zeros_like(depth)
    for radius, reach, share in ((0.02, 0.035, 0.45), (0.07, 0.12, 0.5)):
        step = max(1, int(radius * metre / 4))
        small = (max(1, depth.shape[1] // step), max(1, depth.shape[0] // step))
        sigma = radius * metre / step
        cover = cv2.GaussianBlur(cv2.resize(hit.astype(np.float32), small, interpolation=cv2.INTER_AREA), (0, 0), sigma)
        mean = cv2.GaussianBlur(cv2.resize(depth, small, interpolation=cv2.INTER_AREA), (0, 0), sigma)
        mean = cv2.resize(mean / np.maximum(cover, 1e-3), depth.shape[::-1])
        total += share * np.clip((depth - mean) / reach, 0, 1)
    return torch.as_tensor(total[hit]).clamp(0, 1)


def shadow(scene: Scene, points: torch.Tensor, light: Light, resolution: int = 256) -> torch.Tensor:
    """How much [n] in 0…1 of the key light reaches world points [n,3], softly."""
    toward = torch.as_tensor(light.key * [1, -1, -1]).float()
    side = F.normalize(torch.linalg.cross(toward, torch.tensor([0.0, 1.0, 0.01])), dim=0)
    basis = torch.stack([side, torch.linalg.cross(side, toward), -toward], 1)  # depth grows away from the light
    projected = torch.as_tensor(scene.vertices) @ basis
    low, high = projected[:, :2].amin(0), projected[:, :2].amax(0)
    scale = (resolution - 4) / float((high - low).max())
    projected[:, :2] = (projected[:, :2] - low) * scale + 2
    size = ((high - low) * scale).ceil().int() + 4
    faces = torch.as_tensor(scene.faces)
    corners = projected[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    facing = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]  # one side is enough, and halves the work
    raster = rasterize(projected, faces[facing > 0], int(size[1]), int(size[0]))
    depth = torch.where(raster.face_index >= 0, raster.depth, torch.full((), 10.0))
    target = points @ basis
    pixels = (target[:, :2] - low) * scale + 2
    grid = torch.stack([pixels[:, 0] / size[0] * 2 - 1, pixels[:, 1] / size[1] * 2 - 1], 1)
    visible = torch.zeros(len(points))
    radius = 1.0 + 2.5 * light.softness
    for dx, dy in ((0, 0), (1, 0.4), (-0.4, 1), (-1, -0.4), (0.4, -1)):
        offset = torch.tensor([dx * radius * 2 / float(size[0]), dy * radius * 2 / float(size[1])])
        nearest = F.grid_sample(depth[None, None], (grid + offset)[None, None], mode="nearest", align_corners=False)[
            0, 0, 0
        ]
        visible += ((nearest - target[:, 2] + 0.018) / 0.012).clamp(0, 1)
    return visible / 5


def soften(lit: torch.Tensor, hit: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur the light [n] on the hit pixels [H,W] over `sigma` pixels, within the silhouette."""
    inside = hit.numpy()
    cover, picture = inside.astype(np.float32), np.zeros(inside.shape, np.float32)
    picture[inside] = lit.numpy()
    blurred = cv2.GaussianBlur(picture, (0, 0), sigma)[inside] / cv2.GaussianBlur(cover, (0, 0), sigma)[inside]
    return torch.as_tensor(blurred)


def light_up(
    paint: Paint, normals: torch.Tensor, lit: torch.Tensor, occluded: torch.Tensor, light: Light
) -> torch.Tensor:
    """Linear colours [n,3] leaving the surface towards the viewer."""
    albedo = paint.colour.clamp(0, 1) ** 2.2
    key = torch.as_tensor(light.key).float()
    facing = normals @ key
    # light wraps farther round skin, red farthest
    wrap = torch.tensor([0.32, 0.14, 0.1]) * paint.skin[:, None] + 0.06
    diffuse = ((facing[:, None] + wrap) / (1 + wrap)).clamp_min(0)
    reach = light.softness * 0.35 + (1 - light.softness * 0.35) * lit
    up = (normals[:, 1] * 0.5 + 0.5)[:, None]
    ambient = torch.as_tensor(light.sky).float() * up + torch.as_tensor(light.bounce).float() * (1 - up)
    ambient = ambient * (0.75 + 0.25 * normals[:, 2:].clamp(0, 1)) * light.ambient * (1 - 0.75 * occluded[:, None])
    tint = torch.as_tensor(light.tint).float() * light.strength
    colour = albedo * (tint * diffuse * (reach * (1 - 0.3 * occluded))[:, None] + ambient)
    half = F.normalize(key + torch.tensor([0.0, 0.0, 1.0]), dim=0)
    sharp = 18 + 60 * paint.gloss
    highlight = paint.gloss * (normals @ half).clamp(1e-4, 1) ** sharp * lit
    grazing = (1 - normals[:, 2].clamp(0, 1)) ** 3
    sheen = grazing * (0.05 + light.rim * up[:, 0]) * (1 - occluded)
    return colour + (0.7 * highlight)[:, None] * tint + sheen[:, None] * (0.15 + albedo) * light.ambient


def develop(linear: np.ndarray, exposure: float) -> np.ndarray:
    """Linear light to sRGB in 0…1 with a soft shoulder."""
    value = np.maximum(linear * exposure, 0)
    value = np.where(value > 0.7, 0.7 + 0.3 * np.tanh((value - 0.7) / 0.45), value)
    return value ** (1 / 2.2)
