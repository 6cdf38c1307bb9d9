"""Body parts do not pass through each other: spheres inside them that may not overlap.

Trunk and limbs are cut into slices, and each slice is filled with one sphere, or with two or three beside each other where it
is wider than thick. They are somewhat smaller than the body, so that what touches, touches freely; parts that are joined
to each other, and those that overlap where somebody stands at ease, are not compared.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHRINK = 0.85  # radius of a sphere, relative to half the thickness of its slice
MOST = 5  # slices of a part
THIN = 0.035  # half thickness (metres): what is thinner, as hands are, is cut as if it were so thick
LEAST = 12  # vertices of a slice that count
TRUNK = (0, 3, 6, 9, 12, 13, 14)  # joints whose parts count as one


@dataclass
class Spheres:
    """S spheres in the rest pose. Metres."""

    centres: Tensor  # [S,3]
    dirs: Tensor  # [S,3,10] how they move with the shape
    joint: Tensor  # [S] the joint that each moves with
    radius: Tensor  # [S]


def spheres(template: Tensor, shapedirs: Tensor, skin: Tensor) -> Spheres:
    """Spheres that fill the body of vertices `template` [V,3], cut by its skinning weights [V,24]."""
    part = skin.argmax(1)
    found: list[tuple[Tensor, Tensor, int, float]] = []
    for joint in range(skin.shape[1]):
        mine = torch.nonzero(part == joint).squeeze(1)
        if len(mine) >= LEAST:
            found += [(*sphere[:2], joint, sphere[2]) for sphere in _fill(template[mine], shapedirs[mine])]
    centres, dirs, joints, radii = zip(*found, strict=True)
    return Spheres(torch.stack(centres), torch.stack(dirs), torch.tensor(joints), torch.tensor(radii))


def reaches(found: Spheres, parents: tuple[int, ...], at_ease: Tensor) -> Tensor:
    """How far apart [S,S] spheres must be (metres): the sum of their radii, each pair once; 0 for what may overlap.
    `at_ease` [S,3]: the centres where somebody stands at ease."""
    near = torch.eye(len(parents), dtype=torch.bool)
    near[torch.tensor(TRUNK)[:, None], torch.tensor(TRUNK)] = True
    for joint, parent in enumerate(parents):
        if parent >= 0:
            joined = list(TRUNK) if parent in TRUNK else [parent]
            near[joint, joined] = near[joined, joint] = True
    reach = found.radius[:, None] + found.radius
    free = ~near[found.joint[:, None], found.joint]
    for centres in (found.centres, at_ease):
        free &= torch.cdist(centres, centres) > reach
    return torch.where(free.triu(1), reach, 0)


def overlap(centres: Tensor, reach: Tensor) -> Tensor:
    """How deep (metres) spheres lie in each other, [B,S,S], of centres [B,S,3]."""
    return (reach - torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")).clamp_min(0)


def _fill(vertices: Tensor, dirs: Tensor) -> list[tuple[Tensor, Tensor, float]]:
    """Centre, its directions and radius of each sphere in one part."""
    frame = torch.linalg.svd(vertices - vertices.mean(0), full_matrices=False).Vh  # the longest axis first
    along = vertices @ frame[0]
    thick = max(float(_box(vertices @ frame.T)[1].amin()), THIN)
    slices = max(1, min(MOST, math.ceil(float(along.amax() - along.amin()) / (2 * thick))))
    edges = torch.linspace(float(along.amin()), float(along.amax()) + 1e-6, slices + 1)
    found = []
    for low, high in itertools.pairwise(edges):
        here = (along >= low) & (along < high)
        if int(here.sum()) < LEAST:
            continue
        middle, half = _box(vertices[here] @ frame.T)
        wide, thin = (1, 2) if half[1] >= half[2] else (2, 1)
        count = max(1, min(3, round(float(half[wide]) / max(float(half[thin]), THIN))))
        side = half[wide] - half[thin]
        for offset in torch.linspace(-1, 1, count) if count > 1 else (0.0,):
            centre = middle @ frame + offset * side * frame[wide]
            found.append((centre, dirs[here].mean(0), SHRINK * float(half[thin])))
    return found


def _box(points: Tensor) -> tuple[Tensor, Tensor]:
    """Middle and half extents [3] of points [n,3]."""
    low, high = points.amin(0), points.amax(0)
    return (low + high) / 2, (high - low) / 2
