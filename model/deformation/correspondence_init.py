"""Where the search starts, and which posed points are searched for at all."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from ag3d.model.body.rotation import batched_matvec, inverse_3x3
from ag3d.model.deformation.broyden import Search
from ag3d.model.field.voxel_grid import Box
from ag3d.model.ops.constants import BODY_PARTS, PART_MARGIN

# The reference starts from eleven bones: root, hips, knees, neck, head, shoulders, elbows.
BONES = (0, 1, 2, 4, 5, 12, 15, 16, 17, 18, 19)
REFERENCE_STRIDE = 10  # its gate looks at every tenth vertex
_CUDA_PAIRS = 1 << 29  # distances at once
_PAIRS = 1 << 16  # of a processor, whose cache holds them
# Where the search starts: from the nearest vertex of each of these parts, given by their joints. Where skin folds on
# itself, at shoulders and hips, both sides of the fold are near: an axis splits a part by the sign of its normals there.
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


class Candidates(NamedTuple):
    """Canonical roots of posed points; a point may have several or none."""

    flat: torch.Tensor  # [m] place of the posed point among all [B·N], ascending
    roots: torch.Tensor  # [m,3]


def gate(
    points: torch.Tensor, surface: torch.Tensor, distance: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which points [N,3] lie within `distance` of the surface's points [V,3], the nearest, and how far: [n] each."""
    low, high = surface.amin(0) - distance, surface.amax(0) + distance
    close = torch.nonzero(((points > low) & (points < high)).all(1)).squeeze(1)
    if points.is_cuda:
        found, nearest = nearest_by_products(points[close], surface)
    else:
        values, indices = cKDTree(surface.numpy()).query(points[close].numpy(), distance_upper_bound=distance)
        found, nearest = torch.from_numpy(values), torch.from_numpy(indices)
    inside = found < distance
    return close[inside], nearest[inside], found[inside].to(points.dtype)


def nearest_by_products(points: torch.Tensor, surface: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each point [N,3] is from the nearest of the surface's points [V,3], and which that is: [N] each.

    By a matrix product, for GPUs: with cdist's direct way a training step took half a minute there. Of points whose squared
    distances differ by rounding alone (about 1e-6), either may be taken; its distance is exact.
    """
    center = surface.mean(0)  # near zero the product loses least
    points, surface = points - center, surface - center
    ahead = _ahead(surface).t()
    chosen = [
        (torch.cat([part, torch.ones_like(part[:, :1])], dim=1) @ ahead).argmin(1)
        for part in points.split(max(1, _CUDA_PAIRS // len(surface)))
    ]
    nearest = torch.cat(chosen)
    return torch.linalg.vector_norm(points - surface[nearest], dim=1), nearest


def _ahead(surface: torch.Tensor) -> torch.Tensor:
    """[…,V,3] to […,V,4]: its product with (point, 1) is the squared distance, but for the point's own square."""
    return torch.cat([-2 * surface, surface.square().sum(-1, keepdim=True)], dim=-1)


def parts_of(weights: torch.Tensor, vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """The part that each vertex [V,3] belongs to [V], by its strongest bone (weights [V,24]) and its normal."""
    corners = vertices[faces]
    across = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(vertices).index_add(0, faces.flatten(), across.repeat_interleave(3, 0))
    strongest = weights.argmax(1)
    found = torch.zeros(len(weights), dtype=torch.long, device=weights.device)
    number = 0
    for joints, axis in _PARTS:
        own = torch.isin(strongest, torch.tensor(joints, device=weights.device))
        found[own] = number
        if axis is not None:
            number += 1
            found[own & (normals[:, axis] < 0)] = number
        number += 1
    return found


def from_bones(
    points: torch.Tensor, vertices: torch.Tensor, transforms: torch.Tensor, search: Search, distance: float
) -> Candidates:
    """As the reference: every bone of BONES is a start; the transpose stands for its inverse; near copies stay.

    points: [B,N,3]; vertices: [B,V,3]; transforms: [B,24,4,4].
    """
    count, starts = points.shape[1], len(BONES)
    near = [
        gate(cloud, surface, distance)[0] + index * count
        for index, (cloud, surface) in enumerate(zip(points, vertices[:, ::REFERENCE_STRIDE]))
    ]
    flat = torch.cat(near)
    image = flat // count
    target = points.reshape(-1, 3)[flat]
    bones = transforms[:, list(BONES)][image]  # [n,I,4,4]
    guess = torch.einsum("nirc,nir->nic", bones[..., :3, :3], target[:, None] - bones[..., :3, 3])
    solved, valid = search.solve(
        target.repeat_interleave(starts, 0), image.repeat_interleave(starts), guess.reshape(-1, 3)
    )
    roots, valid = solved.view(-1, starts, 3), distinct(solved.view(-1, starts, 3), valid.view(-1, starts))
    which, start = torch.nonzero(valid, as_tuple=True)
    return Candidates(flat[which], roots[which, start])


def distinct(roots: torch.Tensor, valid: torch.Tensor, radius: float = 1e-4) -> torch.Tensor:
    """Of valid roots [n,I,3] closer than `radius`, the last survives: [n,I]."""
    keep = valid.clone()
    for start in range(roots.shape[1] - 1):
        later = (roots[:, start + 1 :] - roots[:, start, None]).square().sum(-1) < radius**2
        keep[:, start] &= ~(later & valid[:, start + 1 :]).any(1)
    return keep


class Starts:
    """The vertices that the search of posed bodies starts from, prepared once for every pass."""

    def __init__(self, vertices: torch.Tensor, begins: torch.Tensor, blended: torch.Tensor, distance: float) -> None:
        """vertices: [B,V,3], by part; begins: [BODY_PARTS+1], each part's first; blended: [B,V,3,4], the vertices' own transforms;
        distance: what counts as near."""
        self.vertices, self.distance = vertices, distance
        self.backward, self.shift = inverse_3x3(blended[..., :3]), blended[..., 3].contiguous()
        self.parts = [slice(first, end) for first, end in itertools.pairwise(begins.tolist()) if first < end]

    def near(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of points [B,N,3], part by part, those that have a vertex of it near: their places among all, that vertex, and how
        far it is: [m] each."""
        if not points.is_cuda:
            return self._near_by_products(points)
        count = points.shape[1]
        found = []
        for index in range(len(points)):
            for part in self.parts:
                place, nearest, far = gate(points[index], self.vertices[index, part], self.distance)
                found.append((place + index * count, nearest + part.start, far))
        flat, vertices, distances = (torch.cat(values) for values in zip(*found))
        return flat, vertices, distances

    def _near_by_products(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As `near`, for a processor. Products of all points and vertices of a part, and the least in every row, take half as
        long as questions to a tree."""
        count, each = points.shape[1], self.vertices.shape[1]
        bits = self._surroundings.parts_at(points.numpy()).ravel()
        close = np.flatnonzero(bits)
        bits = bits[close]
        cloud = points.reshape(-1, 3)
        homogeneous = np.ones((len(close), 4), np.float32)
        np.subtract(cloud.numpy().take(close, 0), self._center.take(close // count, 0), out=homogeneous[:, :3])
        begins = np.searchsorted(close, count * np.arange(len(points) + 1))
        places, nearest = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for image, (begin, end) in enumerate(itertools.pairwise(begins)):
            own_bits, ahead = bits[begin:end], self._products[image]
            for number, part in enumerate(self.parts):
                at = np.flatnonzero(own_bits & (1 << number))
                at += begin
                places.append(at)
                asked, others = homogeneous.take(at, 0), ahead[:, part]
                step = max(1, _PAIRS // others.shape[1])
                for first in range(0, len(asked), step):
                    nearest.append((asked[first : first + step] @ others).argmin(1))
                    nearest[-1] += image * each + part.start
        flat = torch.from_numpy(close[np.concatenate(places)])
        vertex = torch.from_numpy(np.concatenate(nearest))
        apart = cloud.index_select(0, flat) - self.vertices.reshape(-1, 3).index_select(0, vertex)
        far = torch.linalg.vector_norm(apart, dim=1)
        inside = torch.nonzero(far < self.distance).squeeze(1)
        return flat[inside], vertex[inside] % each, far[inside]

    @functools.cached_property
    def _center(self) -> np.ndarray:
        """[B,3]; near zero the products lose least."""
        return self.vertices.mean(1).numpy()

    @functools.cached_property
    def _products(self) -> np.ndarray:
        """[B,4,V], what points are multiplied by."""
        return _ahead(self.vertices - torch.from_numpy(self._center)[:, None]).mT.contiguous().numpy()

    @functools.cached_property
    def _surroundings(self) -> _Surroundings:
        return _Surroundings(self.vertices.numpy(), self.parts, self.distance)


class _Surroundings:
    """A coarse grid around each body, of which parts may be near a cell: most points are far from most parts."""

    def __init__(self, vertices: np.ndarray, parts: list[slice], distance: float) -> None:
        self.cell = distance / 2  # what is near is at most two cells away
        self.low = vertices.min(1, keepdims=True) - 3 * self.cell  # [B,1,3]; nothing is near the outermost cells
        places = np.floor((vertices - self.low) / self.cell).astype(np.int32)
        self.sizes = places.max((0, 1)) + 4
        bits = np.zeros((len(vertices), *self.sizes), np.int32)
        image = np.arange(len(vertices))[:, None]
        for number, part in enumerate(parts):
            bits[(image, *np.moveaxis(places[:, part], 2, 0))] |= 1 << number
        for axis in (1, 2, 3):
            spread = bits.copy()
            along, wide = np.moveaxis(bits, axis, 0), np.moveaxis(spread, axis, 0)
            for step in (1, 2):
                wide[step:] |= along[:-step]
                wide[:-step] |= along[step:]
            bits = spread
        self.bits = bits

    def parts_at(self, points: np.ndarray) -> np.ndarray:
        """Of points [B,N,3], a bit for each part that may be near: [B,N]."""
        places = (points - self.low) * np.float32(1 / self.cell)
        np.clip(places, 0, self.sizes - 1, out=places, casting="unsafe")
        x, y, z = (places[..., axis].astype(np.int32) for axis in range(3))
        x += np.arange(len(points), dtype=np.int32)[:, None] * self.sizes[0]
        return self.bits.reshape(-1).take((x * self.sizes[1] + y) * self.sizes[2] + z, mode="clip")


def from_surface(points: torch.Tensor, starts: Starts, search: Search) -> Candidates:
    """One start for each part of the body that is near, and not much farther than the nearest: its nearest vertex, carried back by its own blended transform.

    points: [B,N,3]. The guess is so near that two or three steps converge, and a point between two parts gets a root from
    each.
    """
    batch, count = points.shape[:2]
    flat, vertex, far = starts.near(points)
    least = torch.full((batch * count,), starts.distance, device=points.device).scatter_reduce_(0, flat, far, "amin")
    chosen = torch.nonzero(far <= least[flat] + PART_MARGIN).squeeze(1)
    chosen = chosen[torch.argsort(flat[chosen], stable=True)]
    places, vertex = flat[chosen], vertex[chosen]
    image = places // count
    own = image * starts.vertices.shape[1] + vertex
    back, shift = (of_all.flatten(0, 1).index_select(0, own) for of_all in (starts.backward, starts.shift))
    target = points.reshape(-1, 3).index_select(0, places)
    roots, valid = search.solve(target, image, batched_matvec(back, target - shift), back)
    kept = torch.nonzero(valid).squeeze(1)
    return Candidates(places[kept], roots.index_select(0, kept))


def from_nearest(
    points: torch.Tensor, vertices: torch.Tensor, blended: torch.Tensor, box: Box, distance: float
) -> Candidates:
    """Without a search: each point goes back by the transform of its nearest vertex, as many methods before AG3D did.

    points: [B,N,3]; vertices: [B,V,3]; blended: [B,V,3,4]. One root a point; neighbours part where their vertices do.
    """
    count = points.shape[1]
    backward = inverse_3x3(blended[..., :3])
    flat, roots = [], []
    for index in range(len(points)):
        place, vertex, _ = gate(points[index], vertices[index], distance)
        away = points[index, place] - blended[index, vertex, :, 3]
        flat.append(place + index * count)
        roots.append((backward[index, vertex] * away[:, None, :]).sum(2))
    places, found = torch.cat(flat), torch.cat(roots)
    inside = (box.normalize(found).abs() <= 1).all(1)
    return Candidates(places[inside], found[inside])
