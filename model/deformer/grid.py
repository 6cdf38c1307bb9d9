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
    if border:
        index, fraction, _ = _cells(unit, shape)
        return index, _shares(fraction)
    sizes = torch.tensor([w, h, d], device=unit.device)
    place = (unit + 1) * 0.5 * (sizes - 1)
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


def _cells(unit: torch.Tensor, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of normalised points [n,3]: their cells' corners [n,8], the place within the cell [n,3], and whether that follows the
    point [n,3]: outside the grid it does not."""
    d, h, w = shape
    last = torch.tensor([w - 1, h - 1, d - 1], device=unit.device)
    place = (unit + 1) * (0.5 * last)
    free = (place > 0) & (place < last)
    place = torch.minimum(place.clamp_min_(0), last.to(place.dtype))
    base = torch.minimum(place.long().clamp_min_(0), last - 1)  # of points that are no numbers, too
    strides = (1, w, h * w)
    offsets = [sum(strides[axis] for axis in range(3) if corner >> axis & 1) for corner in range(8)]
    first = base[:, 0] + base[:, 1] * strides[1] + base[:, 2] * strides[2]
    return first[:, None] + torch.tensor(offsets, device=unit.device), place.sub_(base), free


def _shares(fraction: torch.Tensor) -> torch.Tensor:
    """Of places [n,3] within cells, the corners' weights [n,8]."""
    x, y, z = fraction.unbind(1)
    far, near = z * y, z - z * y
    behind = torch.stack([1 - y - near, y - far, near, far], dim=1)
    right = behind * x[:, None]
    return torch.stack([behind - right, right], dim=2).flatten(1)


def lookup(table: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted sums of rows: table [N,C], index [n,k], weight [n,k] to [n,C]."""
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


def value_and_gradient(
    table: torch.Tensor, unit: torch.Tensor, shape: tuple[int, int, int], scale: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scalar grid (table [N,1]) and its gradient in world units at normalised points [n,3]; constant outside.

    Returns [n] and [n,3]; no gradient flows to anything.
    """
    index, fraction, free = _cells(unit, shape)
    x, y, z = fraction.unbind(1)
    values = table[:, 0][index].view(-1, 2, 2, 2)  # by z, y, x

    def between(pair: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the ends [n,…,2], the value in between and the difference."""
        first, second = pair.unbind(-1)
        step = second - first
        return torch.addcmul(first, step, share.view(-1, *[1] * (first.ndim - 1))), step

    along_x, by_x = between(values, x)
    along_y, by_y = between(along_x, y)
    value, by_z = between(along_y, z)
    by_x, by_y = between(between(by_x, y)[0], z)[0], between(by_y, z)[0]
    steps = 0.5 * (torch.tensor(shape[::-1], device=unit.device) - 1) * scale
    return value, torch.stack([by_x, by_y, by_z], dim=1) * steps * free
