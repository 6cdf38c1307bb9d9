"""Voxel grids around the canonical body, trilinear look-ups in them, and the body's signed distance on one."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ag3d.model.ops import compiler
from ag3d.model.ops.constants import ANY_FIELD
from ag3d.model.ops.dispatch import use_cuda_kernels

RATIO = 4  # the grids are four times thinner in z


class Box:
    """The grids' place: centre [3] and half side [], of which the z axis has a quarter.

    All that follows from the two is made at once, so that no captured launch makes it.
    """

    def __init__(self, center: torch.Tensor, half: torch.Tensor) -> None:
        self.center, self.half = center, half
        self.scale = torch.stack([1 / half, 1 / half, RATIO / half])  # (x - center) · scale is in [-1,1] inside
        self.packed = torch.cat([center, self.scale])  # [6], as the kernels take it

    @staticmethod
    def around(vertices: torch.Tensor, margin: float = 1.2) -> Box:
        """The box of the canonical vertices [V,3]."""
        low, high = vertices.amin(0), vertices.amax(0)
        return Box((low + high) / 2, (high - low).max() / 2 * margin)

    def normalize(self, points: torch.Tensor) -> torch.Tensor:
        return (points - self.center) * self.scale

    def points(self, resolution: int) -> torch.Tensor:
        """World positions of a grid of resolution [R/4 (z), R (y), R (x)]: [D,H,W,3]."""
        side = torch.linspace(-1, 1, resolution, device=self.center.device)
        depth = torch.linspace(-1, 1, resolution // RATIO, device=self.center.device)
        z, y, x = torch.meshgrid(depth, side, side, indexing="ij")
        unit = torch.stack([x, y, z / RATIO], dim=-1)
        return unit * self.half + self.center


class Grid(NamedTuple):
    """Values at the voxels of a box, of one or of several bodies one after the other."""

    values: torch.Tensor  # [D·H·W,C] or [B·D·H·W,C]
    shape: tuple[int, int, int]  # D, H, W

    @property
    def extent(self) -> tuple[int, int, int]:
        """W, H, D, as the kernels take them."""
        return self.shape[2], self.shape[1], self.shape[0]


class BodySdf(NamedTuple):
    """The canonical body's signed distance, positive inside; outside the grid its border continues."""

    grid: Grid
    box: Box

    @torch.no_grad()
    def __call__(self, points: torch.Tensor, gradient: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """At canonical points [n,3]: the distance [n] and its gradient [n,3], or [n,0]. Without gradient to anything."""
        return (body_sdf_cuda if use_cuda_kernels(points) else body_sdf_torch)(self, points, gradient)


def body_sdf_torch(sdf: BodySdf, points: torch.Tensor, gradient: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    grid, box = sdf
    return value_and_gradient(grid.values, box.normalize(points), grid.shape, box.scale, gradient)


def body_sdf_cuda(sdf: BodySdf, points: torch.Tensor, gradient: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Its gradient comes in passing."""
    points = points.contiguous()
    value, slope = torch.empty(len(points), device=points.device), torch.empty_like(points)
    compiler.launch(
        "search", "surroundings", len(points), points.device,
        len(points), points, points.new_empty(0), *sdf.grid.extent, sdf.grid.values, 0, 0, 0, None, sdf.box.packed, 1,
        value, slope, None, **ANY_FIELD,
    )  # fmt: skip
    return value, slope


def corners(unit: torch.Tensor, shape: tuple[int, int, int], border: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices [n,8] and weights [n,8] of the trilinear interpolation at normalised points [n,3] (x, y, z) in a grid [D,H,W].

    Outside, the border's value continues, or with border False the missing corners count as zero.
    """
    if border:
        base, position = _cells(unit, shape)
        upper = position.sub_(base)
        x, y, z = torch.stack([1 - upper, upper], dim=1)  # [2,n] each
        weight = (z[:, None] * y).flatten(0, 1)[:, None] * x  # [4,2,n]
        return _firsts(base, shape)[:, None] + _offsets(shape, unit.device), weight.flatten(0, 1).t().contiguous()
    d, h, w = shape
    sizes = torch.tensor([w, h, d], device=unit.device)
    position = (unit + 1) * 0.5 * (sizes - 1)
    base = position.floor()
    fraction = position - base
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


def _cells(unit: torch.Tensor, shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Of normalised points [n,3]: their cells' first corners and their own places within the grid, which they are moved to
    where they lie outside: [3,n] each. Axis by axis, for arithmetic on long rows is fastest."""
    last = _last(shape, unit.device)
    position = (unit.t().contiguous() + 1).mul_(0.5 * last)
    position = torch.minimum(position.clamp_min_(0), last.to(position.dtype))
    return torch.minimum(position.long().clamp_min_(0), last - 1), position  # of points that are no numbers, too


def _firsts(base: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """The voxels' numbers [n] of cells [3,n]."""
    return base[0] + base[1] * shape[2] + base[2] * (shape[1] * shape[2])


@functools.cache
def _last(shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """The last places along x, y and z [3,1]. Kept, so that no step copies them to the device again."""
    with torch.inference_mode(False):
        return torch.tensor(shape[::-1], device=device)[:, None] - 1


@functools.cache
def _offsets(shape: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """How far the eight corners of a cell are from its first; x changes fastest."""
    strides = (1, shape[2], shape[1] * shape[2])
    with torch.inference_mode(False):
        return torch.tensor([sum(strides[axis] for axis in range(3) if n >> axis & 1) for n in range(8)], device=device)


def lookup(table: torch.Tensor, index: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted sums of rows: table [N,C], index [n,k], weight [n,k] to [n,C]."""
    return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


def value_and_gradient(
    table: torch.Tensor, unit: torch.Tensor, shape: tuple[int, int, int], scale: torch.Tensor, gradient: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """A scalar grid (table [N,1]) and its gradient in world units at normalised points [n,3]; constant outside.

    Returns [n] and [n,3], or [n,0] without `gradient`; no gradient flows to anything.
    """
    last = _last(shape, unit.device)
    base, position = _cells(unit, shape)
    free = (position > 0) & (position < last)
    x, y, z = position - base
    column = table[:, 0]
    values = [column.index_select(0, first) for first in _firsts(base, shape) + _offsets(shape, unit.device)[:, None]]

    def between(ends: list[torch.Tensor], share: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Of pairs of ends, the values in between and the differences."""
        steps = [second - first for first, second in zip(ends[::2], ends[1::2])]
        return [torch.addcmul(first, step, share) for first, step in zip(ends[::2], steps)], steps

    along_x, by_x = between(values, x)
    along_y, by_y = between(along_x, y)
    (value,), by_z = between(along_y, z)
    if not gradient:
        return value, unit.new_empty(len(unit), 0)
    slopes = torch.stack([*between(between(by_x, y)[0], z)[0], *between(by_y, z)[0], *by_z])
    steps = 0.5 * last * scale[:, None]
    return value, (slopes * steps * free).t().contiguous()  # norms of rows that lie apart take long
