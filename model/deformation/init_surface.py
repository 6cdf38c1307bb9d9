"""Correspondence initialisation from the body's surface: from the nearest vertex of each part that is near."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import torch

from ag3d.model.body.rotation import batched_matvec, inverse_3x3
from ag3d.model.deformation import broyden
from ag3d.model.deformation.broyden import Roots
from ag3d.model.deformation.knn import near_body, product_factors
from ag3d.model.ops.blended_transforms import BlendedTransforms
from ag3d.model.ops.constants import BODY_PARTS, PART_MARGIN

_PAIRS = 1 << 16  # distances at once, which a processor's cache holds
# The body's parts, given by their joints. Where skin folds on itself, at shoulders and hips, both sides of the fold are
# near: an axis splits a part by the sign of its normals there.
_PARTS: tuple[tuple[tuple[int, ...], int | None], ...] = (
    ((0, 3, 6, 9), 2),  # trunk
    ((12, 15), None),  # neck and head
    ((13, 16), 1),  # left collar and upper arm
    ((14, 17), 1),
    ((18, 20, 22), None),  # left forearm
    ((19, 21, 23), None),
    ((1,), 0),  # left thigh
    ((2,), 0),
    ((4, 7, 10), None),  # left shin
    ((5, 8, 11), None),
)
assert sum(1 if axis is None else 2 for _, axis in _PARTS) == BODY_PARTS


def parts_of(weights: torch.Tensor, vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """The part that each vertex [V,3] belongs to [V], by its strongest bone (weights [V,24]) and its normal."""
    corners = vertices[faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(vertices).index_add(0, faces.flatten(), across.repeat_interleave(3, 0))
    strongest = weights.argmax(1)
    parts = torch.zeros(len(weights), dtype=torch.long, device=weights.device)
    number = 0
    for joints, axis in _PARTS:
        own = torch.isin(strongest, torch.tensor(joints, device=weights.device))
        parts[own] = number
        if axis is not None:
            number += 1
            parts[own & (normals[:, axis] < 0)] = number
        number += 1
    return parts


class StartVertices:
    """The vertices that the search in posed bodies starts from, prepared once for every pass."""

    def __init__(self, vertices: torch.Tensor, begins: torch.Tensor, blended: torch.Tensor, distance: float) -> None:
        """vertices: [B,V,3], by part; begins: [BODY_PARTS+1], each part's first; blended: [B,V,3,4], the vertices' own
        transforms; distance: what counts as near."""
        self.vertices, self.distance = vertices, distance
        self.backward, self.shift = inverse_3x3(blended[..., :3]), blended[..., 3].contiguous()
        self.parts = [slice(first, end) for first, end in itertools.pairwise(begins.tolist()) if first < end]

    def near_parts(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of points [B,N,3], part by part, those that have a vertex of it near: their indices among all, that vertex, and how
        far it is: [m] each."""
        return self.near_parts_reference(points) if points.is_cuda else self.near_parts_cpu(points)

    def near_parts_reference(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """In another order than on a processor: image by image."""
        flat, nearest, apart = [], [], []
        for index in range(len(points)):
            for part in self.parts:
                near, vertex, far = near_body(points[index], self.vertices[index, part], self.distance)
                flat.append(near + index * points.shape[1])
                nearest.append(vertex + part.start)
                apart.append(far)
        return torch.cat(flat), torch.cat(nearest), torch.cat(apart)

    def near_parts_cpu(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Products of points and vertices of a part, and the least in every row, take half as long as questions to a tree; a
        coarse grid tells which points and parts."""
        count, vertices = points.shape[1], self.vertices.shape[1]
        bits = self._part_grid.parts_at(points.numpy()).ravel()
        close = np.flatnonzero(bits)
        bits = bits[close]
        cloud = points.reshape(-1, 3)
        homogeneous = np.ones((len(close), 4), np.float32)
        np.subtract(cloud.numpy().take(close, 0), self._center.take(close // count, 0), out=homogeneous[:, :3])
        begins = np.searchsorted(close, count * np.arange(len(points) + 1))
        chosen, nearest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for image, (begin, end) in enumerate(itertools.pairwise(begins)):
            own_bits, factors = bits[begin:end], self._factors[image]
            for number, part in enumerate(self.parts):
                index = np.flatnonzero(own_bits & (1 << number))
                index += begin
                chosen.append(index)
                rows, columns = homogeneous.take(index, 0), factors[:, part]
                step = max(1, _PAIRS // columns.shape[1])
                for first in range(0, len(rows), step):
                    nearest.append((rows[first : first + step] @ columns).argmin(1))
                    nearest[-1] += image * vertices + part.start
        flat = torch.from_numpy(close[np.concatenate(chosen)])
        vertex = torch.from_numpy(np.concatenate(nearest))
        apart = cloud.index_select(0, flat) - self.vertices.reshape(-1, 3).index_select(0, vertex)
        far = torch.linalg.vector_norm(apart, dim=1)
        inside = torch.nonzero(far < self.distance).squeeze(1)
        return flat[inside], vertex[inside] % vertices, far[inside]

    @functools.cached_property
    def _center(self) -> np.ndarray:
        """[B,3]; near zero the products lose least."""
        return self.vertices.mean(1).numpy()

    @functools.cached_property
    def _factors(self) -> np.ndarray:
        """[B,4,V], what points are multiplied by."""
        return product_factors(self.vertices - torch.from_numpy(self._center)[:, None]).mT.contiguous().numpy()

    @functools.cached_property
    def _part_grid(self) -> _PartGrid:
        return _PartGrid(self.vertices.numpy(), self.parts, self.distance)


class _PartGrid:
    """A coarse grid around each body, of which parts may be near a cell: most points are far from most parts."""

    def __init__(self, vertices: np.ndarray, parts: list[slice], distance: float) -> None:
        self.cell = distance / 2  # what is near is at most two cells away
        self.low = vertices.min(1, keepdims=True) - 3 * self.cell  # [B,1,3]; nothing is near the outermost cells
        cells = np.floor((vertices - self.low) / self.cell).astype(np.int32)
        self.sizes = cells.max((0, 1)) + 4
        bits = np.zeros((len(vertices), *self.sizes), np.int32)
        image = np.arange(len(vertices))[:, None]
        for number, part in enumerate(parts):
            bits[(image, *np.moveaxis(cells[:, part], 2, 0))] |= 1 << number
        for axis in (1, 2, 3):  # dilated by two cells
            dilated = bits.copy()
            source, target = np.moveaxis(bits, axis, 0), np.moveaxis(dilated, axis, 0)
            for step in (1, 2):
                target[step:] |= source[:-step]
                target[:-step] |= source[step:]
            bits = dilated
        self.bits = bits

    def parts_at(self, points: np.ndarray) -> np.ndarray:
        """Of points [B,N,3], a bit for each part that may be near: [B,N]."""
        cells = (points - self.low) * np.float32(1 / self.cell)
        np.clip(cells, 0, self.sizes - 1, out=cells, casting="unsafe")
        x, y, z = (cells[..., axis].astype(np.int32) for axis in range(3))
        x += np.arange(len(points), dtype=np.int32)[:, None] * self.sizes[0]
        return self.bits.reshape(-1).take((x * self.sizes[1] + y) * self.sizes[2] + z, mode="clip")


def find_from_surface(points: torch.Tensor, starts: StartVertices, transforms: BlendedTransforms) -> Roots:
    """One start for each part of the body that is near, and not much farther than the nearest: its nearest vertex, carried back
    by its own blended transform.

    points: [B,N,3]. The guess is so near that two or three steps converge, and a point between two parts gets a root from
    each.
    """
    batch, count = points.shape[:2]
    flat, vertex, far = starts.near_parts(points)
    least = torch.full((batch * count,), starts.distance, device=points.device).scatter_reduce_(0, flat, far, "amin")
    chosen = torch.nonzero(far <= least[flat] + PART_MARGIN).squeeze(1)
    chosen = chosen[torch.argsort(flat[chosen], stable=True)]
    flat, vertex = flat[chosen], vertex[chosen]
    image = flat // count
    own = image * starts.vertices.shape[1] + vertex
    backward, shift = (of_all.flatten(0, 1).index_select(0, own) for of_all in (starts.backward, starts.shift))
    target = points.reshape(-1, 3).index_select(0, flat)
    roots, valid = broyden.solve(transforms, target, image, batched_matvec(backward, target - shift), backward)
    kept = torch.nonzero(valid).squeeze(1)
    return Roots(flat[kept], roots.index_select(0, kept))
