"""Colours of a surface as the network's images show it from around.

The images have passed the super-resolution, which knows finer things than the field. Each place takes the mean of the
images that see it straight on; what none sees well (under the arms, where outlines blur) keeps the field's colour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from ag3d.model.avatars.batching import map_with_oom_backoff
from ag3d.model.avatars.mesh import skin_points
from ag3d.model.avatars.mesh_preview import project_to_camera
from ag3d.model.body import label as labels
from ag3d.model.body.rotation import compose_axis_angles
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import Raster, interpolate, rasterize, vertex_normals

# From where, in degrees: round the body, and up.
VIEWS = [(45 * k, 0) for k in range(8)] + [(90 * k + 45, up) for up in (40, -40) for k in range(4)]
_STRAIGHT = 0.3  # cosines of the angle to the surface from which on an image counts
_SAME = 0.01  # metres: what is nearer than this to the first surface is seen
_SOLID = 0.9  # opacity, of a pixel and its neighbours, from which on it lies within the outline
_DOUBT = 0.05  # weight of the field's own colour


@dataclass
class ImageSource:
    """Whose images are to be taken."""

    ws: torch.Tensor  # [1,num_ws,w_dim]
    betas: torch.Tensor  # [10]


@torch.no_grad()
def bake_images(
    source: ImageSource,
    generator: Generator,
    planes: torch.Tensor,  # [1,3,C,P,P]
    corners: torch.Tensor,  # [V,3], the canonical mesh
    faces: torch.Tensor,  # [F,3]
    raster: Raster,  # of the texture
    own: np.ndarray,  # uint8 [n,3], the field's colours at the texture's covered pixels
) -> np.ndarray:
    """Colours of the texture's covered pixels: uint8 [n,3]."""
    canonical = labels.canonical_label(1, source.betas.cpu()[None])
    view_labels = torch.cat([_rotate_body(canonical, *view) for view in VIEWS]).to(planes.device)
    hit = raster.face_index >= 0
    total = torch.full((int(hit.sum()), 1), _DOUBT, device=planes.device)
    summed = torch.from_numpy(own).to(planes.device).float() / 127.5 - 1
    summed = summed * total
    size = 4 if planes.is_cuda else 1

    def render(part: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        label = view_labels[part]
        count = len(label)
        drawn = planes.expand(count, -1, -1, -1, -1).contiguous()
        out = generator.synthesis(source.ws.expand(count, -1, -1), label, planes=drawn)
        return label, out["image"].float(), out["opacity"].float()

    for label, image, opacity in map_with_oom_backoff(len(view_labels), size, render):
        inside = -F.max_pool2d(-opacity, 3, stride=1, padding=1)
        for index in range(len(label)):
            one = label[index : index + 1]
            world = skin_points(generator, corners, one)
            weight, image_points = _visibility(world, faces, raster, hit, one, 2 * image.shape[-1])
            solid = (_sample(inside[index], image_points) - _SOLID) / (1 - _SOLID)
            weight = weight * solid.clamp(0, 1)
            summed += weight * _sample(image[index], image_points)
            total += weight
    return ((summed / total + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy()


def _visibility(
    world: torch.Tensor, faces: torch.Tensor, raster: Raster, hit: torch.Tensor, label: torch.Tensor, side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """How well a camera sees the texture's covered pixels [n,1], and where [n,2], -1 to 1 over its image."""
    local, screen = project_to_camera(world, label, side)
    first = rasterize(screen, faces, side, side)
    normals = F.normalize(interpolate(raster, faces, vertex_normals(local, faces))[hit], dim=1)
    at = interpolate(raster, faces, screen)[hit]
    image_points = at[:, :2] / side * 2 - 1
    nearest = first.depth.masked_fill(first.face_index < 0, math.inf)
    column, row = (at[:, k].floor().long().clamp(0, side - 1) for k in (0, 1))
    visible = at[:, 2] < nearest[row, column] + _SAME
    inside = (image_points.abs() <= 1).all(1) & visible
    towards = -normals[:, 2:]
    weight = ((towards - _STRAIGHT) / (1 - _STRAIGHT)).clamp(0, 1) ** 3
    return weight * inside[:, None], image_points


def _sample(image: torch.Tensor, image_points: torch.Tensor) -> torch.Tensor:
    """Values [n,C] of an image [C,H,W]."""
    grid = image_points[None, None].clamp(-1, 1)
    values = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return values[0, :, 0].T


def _rotate_body(label: torch.Tensor, round_: float, up: float) -> torch.Tensor:
    """The body turned before a camera that stands still, which any network can do."""
    parts = labels.split(label)
    tilt, about = torch.tensor([[math.radians(up), 0.0, 0.0]]), torch.tensor([[0.0, math.radians(round_), 0.0]])
    turn = compose_axis_angles(tilt, about)
    return replace(parts, global_orient=compose_axis_angles(turn, parts.global_orient)).pack()
