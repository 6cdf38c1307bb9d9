"""The search of a posed body's samples in two kernels: which are near, and their best canonical roots.

The plain twin is `Deformer.candidates` with `Renderer.find`. It starts from the vertex that is nearest to the sample; here
a grid around the body holds the vertices nearest to its cells' centres, which is as good a start and needs no query.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch

from ag3d.model.body.rotation import inverse_3x3
from ag3d.model.field.voxel_grid import Box
from ag3d.model.ops import compiler
from ag3d.model.ops.constants import BODY_PARTS, PART_MARGIN

CELLS = (32, 64, 64)  # of the grid around a posed body: z, y, x
_PART_SLOTS = 16
_OTHER = {"CHANNELS": 4, "HIDDEN": 1, "PARTS": BODY_PARTS}  # for the kernels that do not look at the field


class Nearby(NamedTuple):
    """What surrounds posed bodies: for every cell, the nearest vertex of each part."""

    vertices: torch.Tensor  # [B,S,4], by part; the last number is unused
    bounds: torch.Tensor  # [B,6], low corner and size of a cell
    cells: torch.Tensor  # [B,*CELLS,16] uint16
    backward: torch.Tensor  # [B,S,12], the inverse of each vertex's linear transform, and its translation


def nearby(vertices: torch.Tensor, blended: torch.Tensor, first: torch.Tensor, reach: float) -> Nearby:
    """Of vertices [B,S,3], sorted by part, with their transforms [B,S,3,4]; part p begins at first[p] (int32 [BODY_PARTS+1])."""
    batch, count, _ = vertices.shape
    low, high = vertices.amin(1) - reach, vertices.amax(1) + reach
    sizes = (high - low) / _cells(low.device)
    padded = torch.nn.functional.pad(vertices, (0, 1))
    bounds = torch.cat([low, sizes], dim=1)
    backward = torch.cat([inverse_3x3(blended[..., :3]).flatten(2), blended[..., 3]], dim=2).contiguous()
    found = Nearby(padded, bounds, bounds.new_empty((batch, *CELLS, _PART_SLOTS), dtype=torch.uint16), backward)
    d, h, w = CELLS
    compiler.launch(
        "search", "nearest_of_cells", batch * d * h * w, vertices.device,
        batch, w, h, d, found.vertices, count, first, bounds, float(reach), found.cells, **_OTHER,
    )  # fmt: skip
    return found


@functools.cache
def _cells(device: torch.device) -> torch.Tensor:
    """[3], along x, y and z. Kept, so that no step copies it to the device again."""
    with torch.inference_mode(False):
        return torch.tensor(CELLS[::-1], dtype=torch.float32, device=device)


class Near(NamedTuple):
    """Which points are near the bodies, without that the processor knows how many."""

    parts: torch.Tensor  # [B·N] int16, a bit for each part of the body that is near
    flat: torch.Tensor  # [B·N], the first `number` are the places of points with such a part, in any order
    number: torch.Tensor  # [1] int32


def near_parts(points: torch.Tensor, around: Nearby, reach: float) -> Near:
    """Points [B,N,3]: near are parts within `reach`, and not much farther than the nearest."""
    batch, per_image, _ = points.shape
    total, device = batch * per_image, points.device
    near = Near(
        torch.empty(total, dtype=torch.int16, device=device),
        torch.empty(total, dtype=torch.long, device=device),
        torch.zeros(1, dtype=torch.int32, device=device),
    )
    d, h, w = CELLS
    compiler.launch(
        "search", "near_parts", total, device,
        np.int64(total), per_image, w, h, d, points, around.vertices, around.vertices.shape[1],
        around.bounds, around.cells, float(reach), PART_MARGIN, near.parts, near.number, near.flat, **_OTHER,
    )  # fmt: skip
    return near


def best_roots(
    points: torch.Tensor,  # [B,N,3]
    near: Near,
    around: Nearby,
    tables: torch.Tensor,  # [B·voxels,12], blended transforms
    shape: tuple[int, int, int],  # of the tables
    box: torch.Tensor,  # [6], centre and scale
    distance: torch.Tensor,  # the canonical body's signed distance
    distance_shape: tuple[int, int, int],
    rows: torch.Tensor,  # of the planes
    side: int,
    half: float,  # of the planes' side in world units
    decoder: tuple[torch.Tensor, ...],  # w1, b1, w2, b2
    empty: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every point's canonical root with the largest signed value [B·N,3], and that value [B·N]: `empty` where there is no root."""
    w1, b1, w2, b2 = decoder
    packed = torch.cat([w1.flatten(), b1, w2[0], b2[:1]])
    total = len(near.flat)
    roots = torch.empty(total, 3, device=points.device)
    values = torch.full((total,), empty, device=points.device)
    (gd, gh, gw), (d, h, w), (dd, dh, dw) = CELLS, shape, distance_shape
    compiler.launch(
        "search", "best_roots", total, points.device,
        near.number, near.flat, points.shape[1], points, near.parts, gw, gh, gd, around.cells, around.bounds,
        around.vertices.shape[1], around.backward, w, h, d, tables, box, dw, dh, dd, distance, rows, side, 1 / half,
        packed, float(empty), roots, values, CHANNELS=w1.shape[1], HIDDEN=len(w1), PARTS=BODY_PARTS,
    )  # fmt: skip
    return roots, values


def surroundings(
    points: torch.Tensor,  # [n,3]
    image: torch.Tensor,  # [n]
    distance: torch.Tensor,
    distance_shape: tuple[int, int, int],
    box: torch.Tensor,
    tables: torch.Tensor | None = None,
    shape: tuple[int, int, int] = (0, 0, 0),
    covariant: bool = True,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The body's signed distance [n], its gradient [n,3], and with `tables` what carries gradients to posed space [n,3,3]."""
    value, gradient = torch.empty(len(points), device=points.device), torch.empty_like(points)
    carry = None if tables is None else torch.empty(len(points), 3, 3, device=points.device)
    (dd, dh, dw), (d, h, w) = distance_shape, shape
    compiler.launch(
        "search", "surroundings", len(points), points.device,
        len(points), points, image, dw, dh, dd, distance, w, h, d, tables, box, int(covariant), value, gradient, carry,
        **_OTHER,
    )  # fmt: skip
    return value, gradient, carry


def box_numbers(box: Box) -> torch.Tensor:
    """Centre and scale as the kernels take them, [6]."""
    return torch.cat([box.center, box.scale]).contiguous()
