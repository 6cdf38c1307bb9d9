"""The residual field at points: signed value, colour and spatial gradient, with a backward pass written out.

Autograd would keep every intermediate of every point, and differentiate the gradient a second time. Here the forward
pass keeps the points alone (of few points, what was looked up and the hidden layer too); the backward pass looks the
features up again, in chunks, and is an ordinary one. On a GPU a kernel does the same (field.cu).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ag3d.model.ops import compiler, triplane
from ag3d.model.ops.blended_transforms import BlendedTransforms
from ag3d.model.ops.composite import VisibleSamples
from ag3d.model.ops.constants import COLOR_MARGIN
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.ops.triplane import TexelTable
from ag3d.model.ops.voxel_grid import BodySdf

Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # w1 [H,C], b1, w2 [1+K,H], b2 of the decoder

_CHUNK = 1 << 18  # points whose intermediates are in memory at once
_KEPT = 1 << 16  # of at most so many points the plain version keeps what it looked up
_PARTS = 256  # of a sum over points
_FIXED_POINT_ONE = 1 << 26  # what stands for one in sums of whole numbers, which are below 32


class Residual(NamedTuple):
    value: Tensor  # [n]
    color: Tensor  # [n,colors], or [n,0]
    gradient: Tensor  # [n,3] by the planes' coordinates, or [n,0]


def residual_field(
    planes: TexelTable,
    decoder: Weights,
    points: Tensor,  # [n,3] in [-1,1] over the planes
    image: Tensor,  # [n], whose planes
    color: bool = True,
    gradient: bool = True,
) -> Residual:
    """f = mean feature of the planes, h = f W₁ᵀ + b₁, o = softplus(h) W₂ᵀ + b₂: the value is o₀, the colour a sigmoid of the
    others. Differentiable by planes and decoder, not by the points, and once only."""
    cuda = use_cuda_kernels(planes.rows) and can_fuse(planes.rows.shape[1])
    function = ResidualFieldCuda if cuda else ResidualFieldTorch
    return Residual(*function.apply(planes.rows, *decoder, points, image, _Ask(planes.side, color, gradient)))


def can_fuse(channels: int) -> bool:
    """Whether the kernels know planes of so many channels."""
    return channels % 4 == 0


class _Ask(NamedTuple):
    side: int  # of the planes
    color: bool
    gradient: bool


class _Hidden(NamedTuple):
    """What the backward pass needs of the forward one."""

    at: triplane.Stencil
    weights: Tensor  # [n,3,4]
    features: Tensor  # [n,C]
    h: Tensor  # [n,H], before the activation
    hidden: Tensor  # after it

    @staticmethod
    def of(rows: Tensor, w1: Tensor, b1: Tensor, points: Tensor, image: Tensor, side: int) -> _Hidden:
        at = triplane.stencil(points, image, side)
        weights = at.weights()
        features = triplane.gather(rows, at, weights)
        h = F.linear(features, w1, b1)
        return _Hidden(at, weights, features, h, F.softplus(h))


class ResidualFieldTorch(torch.autograd.Function):
    """The value's derivative by the features is u = (w₂ ∘ sigmoid(h)) W₁, w₂ being W₂'s first row; its gradient J u."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, points: Tensor, image: Tensor, ask: _Ask
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.ask = ask
        ctx.set_materialize_grads(False)
        ctx.kept = None
        outputs = 1 + (len(w2) - 1 if ask.color else 0)
        count = len(points)
        value, slope = rows.new_empty(count), rows.new_empty(count, 3 if ask.gradient else 0)
        colors = rows.new_empty(count, outputs - 1)
        for part in _chunks(count):
            kept = _Hidden.of(rows, w1, b1, points[part], image[part], ask.side)
            if count <= min(_KEPT, _CHUNK):
                ctx.kept = kept
            out = F.linear(kept.hidden, w2[:outputs], b2[:outputs])
            value[part] = out[:, 0]
            if ask.color:
                colors[part] = torch.sigmoid(out[:, 1:]) * (1 + 2 * COLOR_MARGIN) - COLOR_MARGIN
            if ask.gradient:
                slope[part] = triplane.point_gradient(rows, kept.at, (torch.sigmoid(kept.h) * w2[0]) @ w1)
        ctx.save_for_backward(rows, w1, b1, w2, b2, points, image, colors)
        return value, colors, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        rows, w1, b1, w2, b2, points, image, colors = ctx.saved_tensors
        by_value, by_color, by_slope = outer
        if not ctx.ask.gradient:
            by_slope = None
        outputs = len(w2) if ctx.ask.color and by_color is not None else 1
        d_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        d_w1, d_b1, d_w2, d_b2 = (torch.zeros_like(t) for t in (w1, b1, w2, b2))
        for part in _chunks(len(points)):
            at, weights, f, h, a = ctx.kept or _Hidden.of(rows, w1, b1, points[part], image[part], ctx.ask.side)
            s = torch.sigmoid(h)
            d_out = f.new_zeros(len(f), outputs)
            if by_value is not None:
                d_out[:, 0] = by_value[part]
            if outputs > 1:
                assert by_color is not None
                sigmoid = (colors[part] + COLOR_MARGIN) / (1 + 2 * COLOR_MARGIN)
                d_out[:, 1:] = by_color[part] * (1 + 2 * COLOR_MARGIN) * sigmoid * (1 - sigmoid)
            d_w2[:outputs] += d_out.t() @ a
            d_b2[:outputs] += d_out.sum(0)
            d_h = (d_out @ w2[:outputs]) * s
            scattered = []
            if by_slope is not None:
                along = triplane.directional_weights(at, by_slope[part])
                q = triplane.gather(rows, at, along)  # Σ over axes: what u is multiplied by
                d_t = q @ w1.t()  # by w₂ ∘ sigmoid(h)
                t = s * w2[0]
                d_w1 += t.t() @ q
                d_w2[0] += (d_t * s).sum(0)
                d_h += d_t * t * (1 - s)
                scattered.append((along, t @ w1))
            d_w1 += d_h.t() @ f
            d_b1 += d_h.sum(0)
            if d_rows is not None:
                d_rows += triplane.scatter_back(len(rows), at, [(weights, d_h @ w1), *scattered])
        return d_rows, d_w1, d_b1, d_w2, d_b2, None, None, None


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


class ResidualFieldCuda(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, points: Tensor, image: Tensor, ask: _Ask
    ) -> tuple[Tensor, Tensor, Tensor]:
        count, colors = len(points), len(w2) - 1
        decoder = _packed(w1, b1, w2, b2)
        value = rows.new_empty(count)
        rgb = rows.new_empty(count, colors if ask.color else 0)
        slope = rows.new_empty(count, 3 if ask.gradient else 0)
        ctx.sizes = {"CHANNELS": w1.shape[1], "HIDDEN": len(w1), "COLORS": colors}
        ctx.ask = ask
        ctx.set_materialize_grads(False)
        compiler.launch(
            "field", "field_forward", count, rows.device,
            count, points, image, rows, ask.side, decoder, COLOR_MARGIN, value, rgb if ask.color else None,
            slope if ask.gradient else None, **ctx.sizes,
        )  # fmt: skip
        ctx.save_for_backward(rows, decoder, points, image, rgb)
        return value, rgb, slope

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
        rows, decoder, points, image, rgb = ctx.saved_tensors
        by_value, by_color, by_slope = (None if part is None else part.contiguous() for part in outer)
        by_color, by_slope = by_color if ctx.ask.color else None, by_slope if ctx.ask.gradient else None
        channels, hidden, colors = (ctx.sizes[name] for name in ("CHANNELS", "HIDDEN", "COLORS"))
        d_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        d_w1, d_w2 = rows.new_zeros(hidden, channels), rows.new_zeros(1 + colors, hidden)
        d_b1, d_b2 = rows.new_zeros(hidden), rows.new_zeros(1 + colors)
        heights = [channels, hidden, 1 + colors, hidden] + ([channels, hidden, hidden] if by_slope is not None else [])
        space = rows.new_empty(sum(heights) * min(_CHUNK, len(points)))
        for start in range(0, len(points), _CHUNK):
            part = slice(start, min(start + _CHUNK, len(points)))
            count = part.stop - part.start
            buffers = list(space[: sum(heights) * count].view(-1, count).split(heights))
            pointers = buffers + [None] * (7 - len(buffers))
            compiler.launch(
                "field", "field_backward", count, rows.device,
                count, points[part], image[part], rows, ctx.ask.side, decoder, COLOR_MARGIN,
                *(None if t is None else t[part] for t in (rgb if by_color is not None else None, by_value, by_color, by_slope)),
                d_rows, *pointers, **ctx.sizes,
            )  # fmt: skip
            features, activations, d_out, d_hidden, *rest = buffers
            _add_product(d_w1, d_hidden, features)
            d_b1 += d_hidden.sum(1)
            _add_product(d_w2, d_out, activations)
            d_b2 += d_out.sum(1)
            if rest:
                q, t, d_last = rest
                _add_product(d_w1, t, q)
                d_w2[0] += d_last.sum(1)
        return d_rows, d_w1, d_b1, d_w2, d_b2, None, None, None


def _add_product(into: Tensor, one: Tensor, other: Tensor) -> None:
    """Add one [h,n] times other [c,n] transposed, in parts: of one product so long and thin a GPU's cores would have few tiles."""
    whole = one.shape[1] // _PARTS * _PARTS
    if whole:
        a, b = (each[:, :whole].unflatten(1, (_PARTS, -1)).transpose(0, 1) for each in (one, other))
        into += torch.bmm(a, b.transpose(1, 2)).sum(0)
    if whole < one.shape[1]:
        into.addmm_(one[:, whole:], other[:, whole:].t())


class FieldTensors(NamedTuple):
    """A canonical field as kernels take it."""

    planes: TexelTable
    half: float  # of the planes' side in world units
    decoder: Weights
    sdf: BodySdf
    metric: bool  # whether the residual's gradient is in metres


def shade(
    samples: VisibleSamples,
    roots: tuple[Tensor, Tensor],  # of the first and of the second samples [rays·samples,3]
    per_image: int,  # rays
    field: FieldTensors,
    transforms: BlendedTransforms,
    cam2world: Tensor,  # [B,4,4]
    covariant: bool,  # as of `gradient_transforms`
) -> tuple[Tensor, Tensor]:
    """Colours [rays,colors] and normals [rays,3] of what is seen, weighted and added up along the rays.

    As whole numbers, so that the sums do not depend on the order. The plain twin is the end of `Renderer.render`.
    """
    w1, _, w2, _ = field.decoder
    count, colors = len(samples.opacity), len(w2) - 1
    first, second = (len(each) // count for each in roots)
    sums = torch.zeros(count, colors + 3, dtype=torch.int32, device=w1.device)
    table, sdf = transforms.table, field.sdf.grid
    compiler.launch(
        "field", "shade", len(samples.chosen), w1.device,
        samples.number, samples.chosen, samples.share, first, second, *roots, per_image, *field.planes,
        1 / field.half, _packed(*field.decoder), COLOR_MARGIN, 1 / field.half if field.metric else 1.0, *sdf.extent,
        sdf.values, *table.extent, table.values, field.sdf.box.packed, int(covariant), cam2world,
        float(_FIXED_POINT_ONE), sums, CHANNELS=w1.shape[1], HIDDEN=len(w1), COLORS=colors,
    )  # fmt: skip
    return (sums / _FIXED_POINT_ONE).split([colors, 3], dim=1)


def _packed(w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """The decoder as field.cu takes it."""
    return torch.cat([w1.flatten(), w2[1:].t().flatten(), w2[0], b1, b2[1:], b2[:1]])
