"""A plain picture of a standing figure with its truth: enough for the landmark networks to see a person."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch

from ag3d.core import landmarks
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import interpolate, rasterize, vertex_normals

SKIN, SHIRT, TROUSERS, SHOES, HAIR = (
    np.array(c) for c in ((212, 170, 140), (60, 90, 160), (70, 65, 60), (30, 25, 25), (50, 35, 25))
)

# landmarks whose SMPL joints lie close to them
NEAR = {int(k): int(j) for k, j in landmarks.JOINT_PAIRS if k not in landmarks.HIPS}


class Figure(NamedTuple):
    rgb: np.ndarray  # uint8 [H,W,3]
    mask: np.ndarray  # bool [H,W]
    joints: np.ndarray  # [24,2] pixels, SMPL's order


def backdrop(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Soft clutter, uint8 [H,W,3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(120, 230, (7, 7, 3)).astype(np.float32)
    fine = rng.normal(0, 4, (height, width, 3))
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + fine, 0, 255).astype(np.uint8)


def draw(
    body: Body,
    height: int = 640,
    width: int = 448,
    tall: float = 0.8,
    centre: tuple[float, float] = (0.5, 0.5),
    turn: float = 0.0,
    seed: int = 0,
    onto: np.ndarray | None = None,
) -> Figure:
    """A figure with lowered arms, `tall` photographs high, its middle at `centre` (shares), turned by `turn` radians,
    in front of `onto` or of a backdrop."""
    pose = torch.zeros(1, 69)
    pose.view(23, 3)[15, 2], pose.view(23, 3)[16, 2] = -1.0, 1.0  # shoulders
    pose.view(23, 3)[17, 1], pose.view(23, 3)[18, 1] = -0.4, 0.4  # elbows
    posed = body(torch.zeros(1, 10), pose, torch.tensor([[0.0, turn, 0.0]]), torch.zeros(1, 3))
    vertices, joints = posed.vertices[0], posed.joints[0]
    low, high = vertices.amin(0), vertices.amax(0)
    scale = tall * height / float(high[1] - low[1])

    def screen(points: torch.Tensor) -> torch.Tensor:
        x = (points[:, 0] - (low[0] + high[0]) / 2) * scale + centre[0] * width
        y = -(points[:, 1] - (low[1] + high[1]) / 2) * scale + centre[1] * height
        return torch.stack([x, y, -points[:, 2]], dim=1)

    raster = rasterize(screen(vertices), body.faces, height, width)
    light = vertex_normals(vertices, body.faces) @ torch.tensor([0.3, 0.5, 0.81])
    colour = _clothes(body) * (0.45 + 0.55 * light.clamp_min(0).numpy())[:, None]
    painted = interpolate(raster, body.faces, torch.from_numpy(colour).float()).numpy()
    mask = (raster.face_index >= 0).numpy()
    ground = backdrop(height, width, seed) if onto is None else onto
    rgb = np.where(mask[..., None], painted, ground).astype(np.uint8)
    return Figure(cv2.GaussianBlur(rgb, (3, 3), 0), mask, screen(joints)[:, :2].numpy())


def _clothes(body: Body) -> np.ndarray:
    """A colour per vertex [V,3] by the joint that moves it; the face by its position."""
    joint = body.weights.argmax(1).numpy()
    colour = np.tile(SKIN, (len(joint), 1)).astype(np.float64)
    colour[np.isin(joint, [3, 6, 9, 13, 14, 16, 17, 18, 19])] = SHIRT
    colour[np.isin(joint, [0, 1, 2, 4, 5])] = TROUSERS
    colour[np.isin(joint, [7, 8, 10, 11])] = SHOES
    points = body.v_template.numpy()
    head = joint == 15
    face = points[body.landmark_vertices.numpy()]
    eyes, ears = face[1:3].mean(0), face[3:5].mean(0)
    colour[head & ((points[:, 1] > eyes[1] + 0.05) | (points[:, 2] < ears[2] + 0.01))] = HAIR
    for eye in face[1:3]:
        colour[head & (np.linalg.norm(points - eye, axis=1) < 0.012)] = (35, 25, 20)
    mouth = 1.6 * face[0] - 0.6 * eyes + (0, -0.01, 0)
    colour[head & (np.abs(points[:, 1] - mouth[1]) < 0.008) & (np.abs(points[:, 0]) < 0.022)] = (150, 70, 70)
    return colour
