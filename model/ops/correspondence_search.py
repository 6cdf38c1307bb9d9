"""The search for canonical roots of posed points in two kernels: which points are near the bodies, and their best roots.

The plain twin is PosedField's packed search. It starts from the vertex that is nearest to the point; here a grid around the
body holds the vertices nearest to its cells' centres, which is as good a start and needs no query. The processor never
learns how many points are near.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch

from ag3d.model.body.rotation import inverse_3x3
from ag3d.model.ops import compiler
from ag3d.model.ops.blended_transforms import BlendedTransforms
from ag3d.model.ops.constants import ANY_FIELD, BODY_PARTS, PART_MARGIN
from ag3d.model.ops.residual_field import FieldTensors

CELLS = (32, 64, 64)  # of the grid around a posed body: z, y, x
_EXTENT = CELLS[::-1]
_PART_SLOTS = 16


class VertexGrid(NamedTuple):
    """A grid around each posed body: for every cell, the nearest vertex of each part."""

    vertices: torch.Tensor  # [B,S,4], by part; the last number is unused
    bounds: torch.Tensor  # [B,6], low corner and size of a cell
    cells: torch.Tensor  # [B,*CELLS,16] uint16
    backward: torch.Tensor  # [B,S,12], the inverse of each vertex's linear transform, and its translation


def vertex_grid(vertices: torch.Tensor, blended: torch.Tensor, part_begins: torch.Tensor, reach: float) -> VertexGrid:
    """Of vertices [B,S,3], sorted by part, with their transforms [B,S,3,4]; part p begins at part_begins[p] (int32
    [BODY_PARTS+1])."""
    batch, count, _ = vertices.shape
    low, high = vertices.amin(1) - reach, vertices.amax(1) + reach
    sizes = (high - low) / _cell_counts(low.device)
    padded = torch.nn.functional.pad(vertices, (0, 1))
    bounds = torch.cat([low, sizes], dim=1)
    backward = torch.cat([inverse_3x3(blended[..., :3]).flatten(2), blended[..., 3]], dim=2).contiguous()
    cells = bounds.new_empty((batch, *CELLS, _PART_SLOTS), dtype=torch.uint16)
    compiler.launch(
        "search", "nearest_of_cells", batch * int(np.prod(CELLS)), vertices.device,
        batch, *_EXTENT, padded, count, part_begins, bounds, float(reach), cells, **ANY_FIELD,
    )  # fmt: skip
    return VertexGrid(padded, bounds, cells, backward)


@functools.cache
def _cell_counts(device: torch.device) -> torch.Tensor:
    """[3], along x, y and z. Kept, so that no step copies it to the device again."""
    with torch.inference_mode(False):
        return torch.tensor(_EXTENT, dtype=torch.float32, device=device)


class NearPoints(NamedTuple):
    """Which points are near the bodies."""

    parts: torch.Tensor  # [B·N] int16, a bit for each part of the body that is near
    flat: torch.Tensor  # [B·N], the first `number` are the points with such a part, in any order
    number: torch.Tensor  # [1] int32


def near_body(points: torch.Tensor, around: VertexGrid, reach: float) -> NearPoints:
    """Of points [B,N,3]: near are parts within `reach`, and not much farther than the nearest."""
    batch, per_image, _ = points.shape
    total, device = batch * per_image, points.device
    near = NearPoints(
        torch.empty(total, dtype=torch.int16, device=device),
        torch.empty(total, dtype=torch.long, device=device),
        torch.zeros(1, dtype=torch.int32, device=device),
    )
    compiler.launch(
        "search", "near_parts", total, device,
        np.int64(total), per_image, *_EXTENT, points, around.vertices, around.vertices.shape[1],
        around.bounds, around.cells, float(reach), PART_MARGIN, near.parts, near.number, near.flat, **ANY_FIELD,
    )  # fmt: skip
    return near


def best_roots(
    points: torch.Tensor,  # [B,N,3]
    near: NearPoints,
    around: VertexGrid,
    transforms: BlendedTransforms,
    field: FieldTensors,
    empty: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every point's canonical root with the largest signed value [B·N,3], and that value [B·N]: `empty` where there is no root."""
    w1, b1, w2, b2 = field.decoder
    packed = torch.cat([w1.flatten(), b1, w2[0], b2[:1]])
    total = len(near.flat)
    roots = torch.empty(total, 3, device=points.device)
    values = torch.full((total,), empty, device=points.device)
    table, sdf = transforms.table, field.sdf.grid
    compiler.launch(
        "search", "best_roots", total, points.device,
        near.number, near.flat, points.shape[1], points, near.parts, *_EXTENT, around.cells, around.bounds,
        around.vertices.shape[1], around.backward, *table.extent, table.values, field.sdf.box.packed, *sdf.extent,
        sdf.values, *field.planes, 1 / field.half, packed, float(empty), roots, values,
        CHANNELS=w1.shape[1], HIDDEN=len(w1), PARTS=BODY_PARTS,
    )  # fmt: skip
    return roots, values
