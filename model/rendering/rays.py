"""Pin-hole rays and the places of samples on them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ag3d.model.field.canonical_field import CanonicalField
from ag3d.model.field.posed_field import PosedField


class Rays(NamedTuple):
    """Rays of a batch of cameras."""

    origins: Tensor  # [B,M,3]
    directions: Tensor  # [B,M,3], of unit length
    cam2world: Tensor  # [B,4,4]

    def points(self, depths: Tensor) -> Tensor:
        """[B,M·S,3], at depths [B,M,S] along the rays."""
        return (self.origins[:, :, None] + depths[..., None] * self.directions[:, :, None]).reshape(len(depths), -1, 3)


class Sampling(NamedTuple):
    """How many samples a ray has in each pass, and whether they lie in the middles of their strata or anywhere."""

    coarse: int
    fine: int
    deterministic: bool = True


def camera_rays(cam2world: Tensor, intrinsics: Tensor, resolution: int) -> Rays:
    """Through the pixel centres of images of side `resolution`, row by row.

    cam2world: [B,4,4], OpenCV axes; intrinsics: [B,3,3] in units of the image's size.
    """
    batch, device = len(cam2world), cam2world.device
    centers = (torch.arange(resolution, device=device, dtype=torch.float32) + 0.5) / resolution
    v, u = torch.meshgrid(centers, centers, indexing="ij")
    u, v = u.reshape(1, -1), v.reshape(1, -1)
    fx, fy, cx, cy, skew = (intrinsics[:, r, c, None] for r, c in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    y = (v - cy) / fy
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = y.expand_as(x)
    local = torch.stack([x, y, torch.ones_like(x), torch.ones_like(x)], dim=-1)
    points = (local @ cam2world.transpose(1, 2))[..., :3]
    origins = cam2world[:, None, :3, 3]
    return Rays(origins.expand(batch, points.shape[1], 3), F.normalize(points - origins, dim=-1), cam2world)


def coarse_depths(field: CanonicalField | PosedField, rays: Rays, sampling: Sampling) -> Tensor:
    """Depths [B,M,S] of the first pass, along the rays."""
    near, far = field.depth_range(rays.cam2world)
    depths = stratified(near, far, sampling.coarse, rays.directions.shape[1], sampling.deterministic)
    return depths if field.bounded else depths - rays.origins[:, :, 2:]


def stratified(start: Tensor, end: Tensor, samples: int, rays_per_image: int, deterministic: bool) -> Tensor:
    """One depth in each of `samples` strata between start [B] and end [B]: [B,M,S]. Deterministic: the middles."""
    share = torch.linspace(0, 1, samples, device=start.device)
    depths = start[:, None, None] + (end - start)[:, None, None] * share
    width = ((end - start) / (samples - 1))[:, None, None]
    if deterministic:
        return (depths + 0.5 * width).expand(-1, rays_per_image, -1)
    return depths + torch.rand(len(start), rays_per_image, samples, device=start.device) * width
