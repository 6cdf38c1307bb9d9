"""Where the search starts, and which posed points are searched for at all."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from ag3d.model.deformer.grid import Box
from ag3d.model.deformer.search import Search

# The reference starts from eleven bones: root, hips, knees, neck, head, shoulders, elbows.
BONES = (0, 1, 2, 4, 5, 12, 15, 16, 17, 18, 19)
REFERENCE_STRIDE = 10  # its gate looks at every tenth vertex
ASIDE = 0.05  # parts so much farther than the nearest (metres) are not searched from: their roots would lie outside
_CUDA_PAIRS = 1 << 29  # distances at once
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
PARTS = sum(1 if axis is None else 2 for _, axis in _PARTS)


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
        parts = [
            torch.cdist(part, surface, compute_mode="donot_use_mm_for_euclid_dist").min(1)
            for part in points[close].split(max(1, _CUDA_PAIRS // len(surface)))
        ]
        found = torch.cat([part.values for part in parts]) if parts else points.new_zeros(0)
        nearest = torch.cat([part.indices for part in parts]) if parts else close
    else:
        values, indices = cKDTree(surface.numpy()).query(points[close].numpy(), distance_upper_bound=distance)
        found, nearest = torch.from_numpy(values), torch.from_numpy(indices)
    inside = found < distance
    return close[inside], nearest[inside], found[inside].to(points.dtype)


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

    def __init__(self, vertices: torch.Tensor, parts: torch.Tensor, blended: torch.Tensor) -> None:
        """vertices: [B,V,3]; parts: [V]; blended: [B,V,3,4], the vertices' own transforms."""
        self.vertices, self.blended = vertices, blended
        self.backward = torch.linalg.inv(blended[..., :3])
        self.of_part = [own for part in range(PARTS) if len(own := torch.nonzero(parts == part).squeeze(1))]

    def near(self, points: torch.Tensor, distance: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of points [B,N,3], by part, those that have a vertex of it within `distance`: their places among all, that vertex, and
        how far it is: [m] each."""
        count = points.shape[1]
        found = []
        if points.is_cuda:
            for index in range(len(points)):
                for own in self.of_part:
                    place, nearest, far = gate(points[index], self.vertices[index, own], distance)
                    found.append((place + index * count, own[nearest], far))
        else:
            low, high = self.vertices.amin(1, keepdim=True) - distance, self.vertices.amax(1, keepdim=True) + distance
            close = torch.nonzero(((points > low) & (points < high)).all(2).view(-1)).squeeze(1)
            cloud, image = points.reshape(-1, 3)[close], close // count
            apart = cloud.double() + self._shift[image]
            for own, tree, low, high in self._trees:
                at = torch.nonzero(((cloud > (low - distance)[image]) & (cloud < (high + distance)[image])).all(1)).squeeze(1)
                far, nearest = tree.query(apart[at].numpy(), distance_upper_bound=distance, workers=torch.get_num_threads())
                inside = torch.from_numpy(np.flatnonzero(far < distance))
                at, vertex = at[inside], own[torch.from_numpy(nearest)[inside] % len(own)]
                found.append((close[at], vertex, torch.from_numpy(far)[inside].to(points.dtype)))
        flat, vertex, far = (torch.cat(values) for values in zip(*found))
        return flat, vertex, far

    @functools.cached_property
    def _shift(self) -> torch.Tensor:
        """[B,3]: with it the bodies stand apart, so that one tree serves all."""
        extent = float(self.vertices[..., 0].max() - self.vertices[..., 0].min()) + 1
        shift = torch.zeros(len(self.vertices), 3, dtype=torch.float64)
        shift[:, 0] = extent * torch.arange(len(shift))
        return shift

    @functools.cached_property
    def _trees(self) -> list[tuple[torch.Tensor, cKDTree, torch.Tensor, torch.Tensor]]:
        """By part, its vertices, the tree of those of all images, and the corners of the images' boxes [B,3]."""
        found = []
        for own in self.of_part:
            surface = self.vertices[:, own]
            apart = surface.double() + self._shift[:, None]
            tree = cKDTree(apart.view(-1, 3).numpy(), balanced_tree=False, compact_nodes=False)
            found.append((own, tree, surface.amin(1), surface.amax(1)))
        return found


def from_surface(points: torch.Tensor, starts: Starts, search: Search, distance: float) -> Candidates:
    """One start for each part of the body that is near, and not much farther than the nearest: its nearest vertex, carried back by its own blended transform.

    points: [B,N,3]. The guess is so near that two or three steps converge, and a point between two parts gets a root from
    each.
    """
    batch, count = points.shape[:2]
    flat, vertex, far = starts.near(points, distance)
    least = torch.full((batch * count,), distance, device=points.device).scatter_reduce_(0, flat, far, "amin")
    chosen = torch.nonzero(far <= least[flat] + ASIDE).squeeze(1)
    chosen = chosen[torch.argsort(flat[chosen], stable=True)]
    places, vertex = flat[chosen], vertex[chosen]
    image = places // count
    back, target = starts.backward[image, vertex], points.reshape(-1, 3)[places]
    start = (back * (target - starts.blended[image, vertex, :, 3])[:, None, :]).sum(2)
    roots, valid = search.solve(target, image, start, back)
    kept = torch.nonzero(valid).squeeze(1)
    return Candidates(places[kept], roots[kept])


def from_nearest(
    points: torch.Tensor, vertices: torch.Tensor, blended: torch.Tensor, box: Box, distance: float
) -> Candidates:
    """Without a search: each point goes back by the transform of its nearest vertex, as many methods before AG3D did.

    points: [B,N,3]; vertices: [B,V,3]; blended: [B,V,3,4]. One root a point; neighbours part where their vertices do.
    """
    count = points.shape[1]
    backward = torch.linalg.inv(blended[..., :3])
    flat, roots = [], []
    for index in range(len(points)):
        place, vertex, _ = gate(points[index], vertices[index], distance)
        away = points[index, place] - blended[index, vertex, :, 3]
        flat.append(place + index * count)
        roots.append((backward[index, vertex] * away[:, None, :]).sum(2))
    places, found = torch.cat(flat), torch.cat(roots)
    inside = (box.normalize(found).abs() <= 1).all(1)
    return Candidates(places[inside], found[inside])
