"""T(x): the bones' transforms, blended at canonical points by skinning weights on a voxel grid (fast-SNARF)."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ag3d.model.body.lbs import blend_skinning_weights
from ag3d.model.ops import compiler
from ag3d.model.ops.constants import ANY_FIELD
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.ops.voxel_grid import BodySdf, Box, Grid, corners, lookup


class BlendedTransforms:
    """weights: of the voxels [V,24]; bones: [B,24,4,4]; table: the voxels' own transforms [B·V,12], as `transform_table` makes
    them. A processor wants no table: filling it takes longer than what it spares. Everything is without gradient.
    """

    def __init__(self, weights: Grid, bones: Tensor, box: Box, table: Tensor | None = None) -> None:
        self.weights, self.bones, self.box = weights, bones, box
        self._table = table

    @functools.cached_property
    def _bone_rows(self) -> Tensor:
        """[B*24,12], the bones' 3×4 transforms, for look-ups without a table."""
        return self.bones[:, :, :3].reshape(-1, 12)

    @property
    def table(self) -> Grid:
        values = transform_table(self.weights.values, self.bones) if self._table is None else self._table
        return Grid(values, self.weights.shape)

    def at(self, points: Tensor, image: Tensor, border: bool = True) -> tuple[Tensor, Tensor]:
        """The transforms at canonical points [n,3] of the bodies `image` [n]: linear part [n,3,3] and translation [n,3].

        Outside the grid its `border` continues, or else zeros."""
        return self.at_normalized(self.box.normalize(points), image, border)

    def at_normalized(self, unit: Tensor, image: Tensor, border: bool = True) -> tuple[Tensor, Tensor]:
        """The same at normalised points."""
        index, weight = corners(unit, self.weights.shape, border)
        if self._table is None:
            count = self.weights.values.shape[1]
            bones = (image.int() * count)[:, None] + torch.arange(count, dtype=torch.int32, device=image.device)
            matrix = lookup(self._bone_rows, bones, lookup(self.weights.values, index, weight))
        else:
            matrix = lookup(self._table, index + (image * len(self.weights.values))[:, None], weight)
        matrix = matrix.view(-1, 3, 4)
        return matrix[:, :, :3], matrix[:, :, 3]


def transform_table(weights: Tensor, bones: Tensor) -> Tensor:
    """Skinning weights [V,24] of voxels and transforms [B,24,4,4] to the voxels' own transforms [B·V,12]."""
    return blend_skinning_weights(weights, bones).reshape(-1, 12)


def gradient_transforms(
    points: Tensor, image: Tensor, transforms: BlendedTransforms, sdf: BodySdf, covariant: bool
) -> Tensor:
    """What carries the field's gradients at canonical points [n,3] to the posed space of the bodies `image` [n]: [n,3,3].

    `covariant`: the cofactors of the linear part, which keep normals normal; else the linear part itself.
    """
    if use_cuda_kernels(points):
        return gradient_transforms_cuda(points, image, transforms, sdf, covariant)
    return gradient_transforms_torch(points, image, transforms, covariant)


def gradient_transforms_torch(points: Tensor, image: Tensor, transforms: BlendedTransforms, covariant: bool) -> Tensor:
    linear, _ = transforms.at(points, image)
    return cofactor(linear) if covariant else linear


def gradient_transforms_cuda(
    points: Tensor, image: Tensor, transforms: BlendedTransforms, sdf: BodySdf, covariant: bool
) -> Tensor:
    value, slope = torch.empty(len(points), device=points.device), torch.empty_like(points)
    carriers = torch.empty(len(points), 3, 3, device=points.device)
    table = transforms.table
    compiler.launch(
        "search", "surroundings", len(points), points.device,
        len(points), points, image, *sdf.grid.extent, sdf.grid.values, *table.extent, table.values, sdf.box.packed,
        int(covariant), value, slope, carriers, **ANY_FIELD,
    )  # fmt: skip
    return carriers


def cofactor(matrix: Tensor) -> Tensor:
    """[n,3,3] to det(M) M⁻ᵀ, which carries normals and never divides."""
    a, b, c = matrix.unbind(-2)
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-2)
