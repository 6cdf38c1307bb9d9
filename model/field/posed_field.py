"""The residual field at points: signed value, colour and spatial gradient, with a backward pass written out.

Autograd would keep every intermediate of every point, and differentiate the gradient a second time. Here the forward
pass keeps the points alone (of few points, what was looked up and the hidden layer too); the backward pass looks the features up again, in chunks, and is an ordinary one. On a GPU
a kernel does the same (model/kernels/field.cu).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ag3d.model.field import triplane
from ag3d.model.field.triplane import Table
from ag3d.model.networks.decoder import Decoder
from ag3d.model.ops.constants import COLOR_MARGIN
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.ops.fused_field import FastField

_CHUNK = 1 << 18  # points at once
_KEPT = 1 << 16  # of at most so many points what is found on the way is kept


class Residual(NamedTuple):
    value: torch.Tensor  # [n]
    color: torch.Tensor  # [n,colors], or [n,0]
    gradient: torch.Tensor  # [n,3] by the planes' coordinates, or [n,0]


def residual(
    table: Table,
    points: torch.Tensor,  # [n,3] in [-1,1] over the planes
    image: torch.Tensor,  # [n], whose planes
    decoder: Decoder,
    color: bool = True,
    gradient: bool = True,
) -> Residual:
    """Differentiable by planes and decoder, not by the points, and once only."""
    first, last = (layer.effective_parameters() for layer in decoder.layers)
    function = FastField if use_cuda_kernels(table.rows) and table.rows.shape[1] % 4 == 0 else _Field
    return Residual(*function.apply(table.rows, *first, *last, points, image, table.side, color, gradient))


class _Found(NamedTuple):
    """What the way back needs of the way there."""

    at: triplane.Stencil
    mix: torch.Tensor  # [n,3,4]
    features: torch.Tensor  # [n,C]
    h: torch.Tensor  # [n,H], before the activation
    hidden: torch.Tensor  # after it

    @staticmethod
    def of(
        rows: torch.Tensor, w1: torch.Tensor, b1: torch.Tensor, points: torch.Tensor, image: torch.Tensor, side: int
    ) -> _Found:
        at = triplane.stencil(points, image, side)
        mix = at.mix()
        features = triplane.weighted(rows, at, mix)
        h = F.linear(features, w1, b1)
        return _Found(at, mix, features, h, F.softplus(h))


class _Field(torch.autograd.Function):
    """f = bag(rows), h = f W₁ᵀ + b₁, o = softplus(h) W₂ᵀ + b₂: the value is o₀, the colour a sigmoid of the others.

    The value's derivative by the features is u = (w₂ ∘ sigmoid(h)) W₁, w₂ being W₂'s first row; its gradient J u.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: torch.Tensor,
        w1: torch.Tensor,  # [H,C]
        b1: torch.Tensor,
        w2: torch.Tensor,  # [1+K,H]
        b2: torch.Tensor,
        points: torch.Tensor,
        image: torch.Tensor,
        side: int,
        color: bool,
        gradient: bool,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.side, ctx.color, ctx.gradient = side, color, gradient
        ctx.set_materialize_grads(False)
        ctx.kept = None
        outputs = 1 + (len(w2) - 1 if color else 0)
        count = len(points)
        value, slope = rows.new_empty(count), rows.new_empty(count, 3 if gradient else 0)
        seen = rows.new_empty(count, outputs - 1)
        for part in _parts(count):
            found = _Found.of(rows, w1, b1, points[part], image[part], side)
            if count <= min(_KEPT, _CHUNK):
                ctx.kept = found
            out = F.linear(found.hidden, w2[:outputs], b2[:outputs])
            value[part] = out[:, 0]
            if color:
                seen[part] = torch.sigmoid(out[:, 1:]) * (1 + 2 * COLOR_MARGIN) - COLOR_MARGIN
            if gradient:
                slope[part] = triplane.slope(rows, found.at, (torch.sigmoid(found.h) * w2[0]) @ w1)
        ctx.save_for_backward(rows, w1, b1, w2, b2, points, image, seen)
        return value, seen, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        rows, w1, b1, w2, b2, points, image, seen = ctx.saved_tensors
        by_value, by_color, by_slope = outer
        if not ctx.gradient:
            by_slope = None
        outputs = len(w2) if ctx.color and by_color is not None else 1
        need_rows = ctx.needs_input_grad[0]
        d_rows = torch.zeros_like(rows) if need_rows else None
        d_w1, d_b1, d_w2, d_b2 = (torch.zeros_like(t) for t in (w1, b1, w2, b2))
        for part in _parts(len(points)):
            found = ctx.kept or _Found.of(rows, w1, b1, points[part], image[part], ctx.side)
            at, mix, f, h, a = found
            s = torch.sigmoid(h)
            d_out = f.new_zeros(len(f), outputs)
            if by_value is not None:
                d_out[:, 0] = by_value[part]
            if outputs > 1:
                assert by_color is not None
                shine = (seen[part] + COLOR_MARGIN) / (1 + 2 * COLOR_MARGIN)  # the sigmoid
                d_out[:, 1:] = by_color[part] * (1 + 2 * COLOR_MARGIN) * shine * (1 - shine)
            d_w2[:outputs] += d_out.t() @ a
            d_b2[:outputs] += d_out.sum(0)
            d_h = (d_out @ w2[:outputs]) * s
            scattered = []
            if by_slope is not None:
                turn = triplane.towards(at, by_slope[part])
                q = triplane.weighted(rows, at, turn)  # Σ over axes: what u is multiplied by
                d_t = q @ w1.t()  # by w₂ ∘ sigmoid(h)
                t = s * w2[0]
                d_w1 += t.t() @ q
                d_w2[0] += (d_t * s).sum(0)
                d_h += d_t * t * (1 - s)
                scattered.append((turn, t @ w1))
            d_w1 += d_h.t() @ f
            d_b1 += d_h.sum(0)
            if d_rows is not None:
                d_rows += triplane.scatter(len(rows), at, [(mix, d_h @ w1), *scattered])
        return d_rows, d_w1, d_b1, d_w2, d_b2, None, None, None, None, None


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]
