"""The residual field in one kernel each way. The plain twin is in rendering/field.py."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ag3d.model.ops import compiler
from ag3d.model.ops.constants import COLOR_MARGIN
from ag3d.model.ops.ray_march import Seen

UNIT = 1 << 26  # what stands for one in sums of whole numbers, which are below 32
_CHUNK = 1 << 18  # points whose intermediates are in memory at once, on the way back
_PARTS = 256  # of a sum over them


def packed(w1: torch.Tensor, b1: torch.Tensor, w2: torch.Tensor, b2: torch.Tensor) -> torch.Tensor:
    """The decoder as the kernels take it."""
    return torch.cat([w1.flatten(), w2[1:].t().flatten(), w2[0], b1, b2[1:], b2[:1]])


class FastField(torch.autograd.Function):
    """Arguments and results as those of rendering.field's `_Field`."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,  # [texels,C]
        w1: torch.Tensor,  # [H,C]
        b1: torch.Tensor,
        w2: torch.Tensor,  # [1+K,H]
        b2: torch.Tensor,
        points: torch.Tensor,  # [n,3]
        image: torch.Tensor,  # [n]
        side: int,
        color: bool,
        gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        count, colors = len(points), len(w2) - 1
        decoder = packed(w1, b1, w2, b2)
        value = rows.new_empty(count)
        seen = rows.new_empty(count, colors if color else 0)
        slope = rows.new_empty(count, 3 if gradient else 0)
        ctx.sizes = {"CHANNELS": w1.shape[1], "HIDDEN": len(w1), "COLORS": colors}
        ctx.side, ctx.color, ctx.gradient = side, color, gradient
        ctx.set_materialize_grads(False)
        compiler.launch(
            "field", "field_forward", count, rows.device,
            count, points, image, rows, side, decoder, COLOR_MARGIN, value, seen if color else None,
            slope if gradient else None, **ctx.sizes,
        )  # fmt: skip
        ctx.save_for_backward(rows, decoder, points, image, seen)
        return value, seen, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        rows, decoder, points, image, seen = ctx.saved_tensors
        by_value, by_color, by_slope = (None if part is None else part.contiguous() for part in outer)
        by_color, by_slope = by_color if ctx.color else None, by_slope if ctx.gradient else None
        channels, hidden, colors = (ctx.sizes[name] for name in ("CHANNELS", "HIDDEN", "COLORS"))
        d_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        d_w1, d_w2 = rows.new_zeros(hidden, channels), rows.new_zeros(1 + colors, hidden)
        d_b1, d_b2 = rows.new_zeros(hidden), rows.new_zeros(1 + colors)
        heights = [channels, hidden, 1 + colors, hidden] + ([channels, hidden, hidden] if by_slope is not None else [])
        space = rows.new_empty(sum(heights) * min(_CHUNK, len(points)))
        for start in range(0, len(points), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(points)))
            count = part.stop - part.start
            found = list(space[: sum(heights) * count].view(-1, count).split(heights))
            pointers = found + [None] * (7 - len(found))
            compiler.launch(
                "field", "field_backward", count, rows.device,
                count, points[part], image[part], rows, ctx.side, decoder, COLOR_MARGIN,
                *(None if t is None else t[part] for t in (seen if by_color is not None else None, by_value, by_color, by_slope)),
                d_rows, *pointers, **ctx.sizes,
            )  # fmt: skip
            features, activations, d_out, d_hidden, *rest = found
            _add_product(d_w1, d_hidden, features)
            d_b1 += d_hidden.sum(1)
            _add_product(d_w2, d_out, activations)
            d_b2 += d_out.sum(1)
            if rest:
                q, t, d_last = rest
                _add_product(d_w1, t, q)
                d_w2[0] += d_last.sum(1)
        return d_rows, d_w1, d_b1, d_w2, d_b2, None, None, None, None, None


def _add_product(into: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> None:
    """Add one [h,n] times other [c,n] transposed, in parts: of one product so long and thin a GPU's cores would have few tiles."""
    whole = one.shape[1] // _PARTS * _PARTS
    if whole:
        a, b = (each[:, :whole].unflatten(1, (_PARTS, -1)).transpose(0, 1) for each in (one, other))
        into += torch.bmm(a, b.transpose(1, 2)).sum(0)
    if whole < one.shape[1]:
        into.addmm_(one[:, whole:], other[:, whole:].t())


def shade(
    seen: Seen,
    roots: tuple[torch.Tensor, torch.Tensor],  # of the first and of the second samples [rays·samples,3]
    per_image: int,  # rays
    rows: torch.Tensor,
    side: int,
    half: float,  # of the planes' side in world units
    decoder: tuple[torch.Tensor, ...],  # w1, b1, w2, b2
    distance: torch.Tensor,
    distance_shape: tuple[int, int, int],
    box: torch.Tensor,
    tables: torch.Tensor,
    shape: tuple[int, int, int],
    cam2world: torch.Tensor | None,  # [B,4,4]; None: normals stay in the world's axes
    metric: bool,  # whether the residual's gradient is in metres
    covariant: bool,  # whether normals are carried by cofactors
) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours [rays,colors] and normals [rays,3] of what is seen, weighted and added up along the rays."""
    w1, _, w2, _ = decoder
    count, colors = len(seen.opacity), len(w2) - 1
    first, second = (len(each) // count for each in roots)
    sums = torch.zeros(count, colors + 3, dtype=torch.int32, device=rows.device)
    (dd, dh, dw), (d, h, w) = distance_shape, shape
    compiler.launch(
        "field", "shade", len(seen.chosen), rows.device,
        seen.number, seen.chosen, seen.share, first, second, *roots, per_image, rows, side,
        1 / half, packed(*decoder), COLOR_MARGIN, 1 / half if metric else 1.0, dw, dh, dd, distance, w, h, d, tables,
        box, int(covariant), cam2world, float(UNIT), sums, CHANNELS=w1.shape[1], HIDDEN=len(w1), COLORS=colors,
    )  # fmt: skip
    return (sums / UNIT).split([colors, 3], dim=1)
