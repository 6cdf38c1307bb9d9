"""Voxel grids around the canonical body, and trilinear look-ups in them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

RATIO = 4  # the grids are four times thinner in z


@dataclass(frozen=True)
class Box:
    """The grids' place: centre [3] and half side, of which the z axis has a quarter."""

    center: torch.Tensor
    half: torch.Tensor  # []

    @staticmethod
    def around(vertices: torch.Tensor, margin: float = 1.2) -> Box:
        """The box of the canonical vertices [V,3]."""
        low, high = vertices.amin(0), vertices.amax(0)
        return Box((low + high) / 2, (high - low).max() / 2 * margin)

    @property
    def scale(self) -> torch.Tensor:
        """[3]: normalised = (x - center) · scale is in [-1,1] inside."""
        return torch.stack([1 / self.half, 1 / self.half, RATIO / self.half])

    def normalize(self, points: torch.Tensor) -> torch.Tensor:
        return (points - self.center) * self.scale

    def points(self, resolution: int) -> torch.Tensor:
        """World positions of a grid of resolution [R/4 (z), R (y), R (x)]: [D,H,W,3]."""
        side = torch.linspace(-1, 1, resolution, device=self.center.device)
        depth = torch.linspace(-1, 1, resolution // RATIO, device=self.center.device)
        z, y, x = torch.meshgrid(depth, side, side, indexing="ij")
        unit = torch.stack([x, y, z / RATIO], dim=-1)
        return unit * self.half + self.center

    def to(self, device: torch.device) -> Box:
        return Box(self.center.to(device), self.half.to(device))


def corners(unit: torch.Tensor, shape: tuple[int, int, int], border: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices [n,8] and weights [n,8] of the trilinear interpolation at normalised points [n,3] (x, y, z) in a grid [D,H,W].

    Outside, the border's value continues, or with border False the missing corners count as zero.
    """
    d, h, w = shape
    sizes = torch.tensor([w, h, d], device=unit.device)
    place = (unit + 1) * 0.5 * (sizes - 1)
    if border:
        place = torch.minimum(place.clamp_min(0), (sizes - 1).to(place.dtype))
    base = place.floor()
    fraction = place - base
    base = base.long()
    index = torch.zeros(len(unit), 8, dtype=torch.long, device=unit.device)
    weight = torch.ones(len(unit), 8, dtype=unit.dtype, device=unit.device)
    stride = (1, w, h * w)
    bits = torch.arange(8, device=unit.device)
    for axis in range(3):
        upper = (bits >> axis) & 1  # [8]
        at = base[:, axis, None] + upper
        share = torch.where(upper.bool(), fraction[:, axis, None], 1 - fraction[:, axis, None])
        inside = (at >= 0) & (at < sizes[axis])
        weight = weight * torch.where(inside, share, torch.zeros_like(share))
        index = index + at.clamp(0, int(sizes[axis]) - 1) * stride[axis]
    return index, weight


def lookup(table: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted sums of rows: table [N,C], index [n,k], weight [n,k] to [n,C]."""
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


def value_and_gradient(
    table: torch.Tensor, unit: torch.Tensor, shape: tuple[int, int, int], scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scalar grid (table [N,1]) and its gradient in world units at normalised points [n,3]; constant outside.

    Returns [n] and [n,3]; no gradient flows to anything.
    """
    d, h, w = shape
    sizes = torch.tensor([w, h, d], device=unit.device)
    index, weight = corners(unit, shape, border=True)
    values = table[:, 0][index]  # [n,8]
    place = (unit + 1) * 0.5 * (sizes - 1)
    free = (place > 0) & (place < sizes - 1)
    fraction = torch.minimum(place.clamp_min(0), (sizes - 1).to(place.dtype))
    fraction = fraction - fraction.floor()
    bits = torch.arange(8, device=unit.device)
    shares = []
    for axis in range(3):
        upper = ((bits >> axis) & 1).bool()
        shares.append((upper, torch.where(upper, fraction[:, axis, None], 1 - fraction[:, axis, None])))
    gradient = []
    for axis in range(3):
        slope = torch.where(shares[axis][0], 1.0, -1.0)
        for other in range(3):
            if other != axis:
                slope = slope * shares[other][1]
        gradient.append((values * slope).sum(1))
    steps = (sizes - 1) * 0.5 * scale
    return (values * weight).sum(1), torch.stack(gradient, dim=1) * steps * free
