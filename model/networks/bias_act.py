"""Bias, leaky ReLU and clamp in one step that keeps only its result."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F

from ag3d.model.ops import image_ops

Activation = Literal["linear", "lrelu"]
SLOPE = 0.2


def gain_of(activation: Activation) -> float:
    """The gain that keeps the variance."""
    return math.sqrt(2) if activation == "lrelu" else 1.0


class _Bounded(torch.autograd.Function):
    """In place. The result's sign and size tell both derivatives, and the layer above keeps the result anyway."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bias: torch.Tensor | None, slope: float, clamp: float) -> torch.Tensor:
        ctx.mark_dirty(x)
        if image_ops.fast(x) and image_ops.dense(x):
            image_ops.activate_(x, bias, slope, clamp)
        else:
            if bias is not None:
                x.add_(bias.to(x.dtype)[:, None, None])
            if slope != 1:
                F.leaky_relu_(x, slope)
            if clamp > 0 and not x.is_cuda and -clamp < x.amin() and x.amax() < clamp:
                clamp = 0.0  # nothing to clamp, neither here nor on the way back: looking is cheaper on a processor
            if clamp > 0:
                F.hardtanh_(x, -clamp, clamp)
        ctx.save_for_backward(x)
        ctx.slope, ctx.clamp = slope, clamp
        return x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        again = torch.is_grad_enabled()  # whether this is to be differentiated once more
        times = _Derivative.apply if again else _times_derivative
        by_x = times(gradient, ctx.saved_tensors[0].detach(), ctx.slope, ctx.clamp)
        wanted = ctx.needs_input_grad[1] and not again
        return by_x, _by_channel(by_x) if wanted else None, None, None


def _by_channel(gradient: torch.Tensor) -> torch.Tensor:
    """The sum [C] of [B,C,H,W]: along rows first where channels lie side by side, for which a GPU has a faster way."""
    if gradient.is_contiguous():
        return gradient.sum((0, 2, 3), dtype=torch.float32)
    rows = gradient.permute(0, 2, 3, 1).flatten(0, 1)
    return rows.sum(1, dtype=torch.float32).sum(0)


class _Derivative(torch.autograd.Function):
    """Itself differentiable by the gradient (R1 needs that), with the result as a constant, which is exact: the activation
    is linear wherever it has a derivative."""

    @staticmethod
    def forward(ctx: Any, gradient: torch.Tensor, result: torch.Tensor, slope: float, clamp: float) -> torch.Tensor:
        ctx.save_for_backward(result)
        ctx.slope, ctx.clamp = slope, clamp
        return _times_derivative(gradient, result, slope, clamp)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _Derivative.apply(gradient, ctx.saved_tensors[0], ctx.slope, ctx.clamp), None, None, None


def _times_derivative(gradient: torch.Tensor, result: torch.Tensor, slope: float, clamp: float) -> torch.Tensor:
    if image_ops.fast(gradient) and image_ops.dense(gradient) and gradient.stride() == result.stride():
        return image_ops.derivative(gradient, result, slope, clamp)
    if clamp > 0:
        gradient = torch.ops.aten.hardtanh_backward(gradient, result, -clamp, clamp)
    if slope != 1:
        gradient = torch.ops.aten.leaky_relu_backward(gradient, result, slope, True)
    return gradient


def activate_(
    x: torch.Tensor, activation: Activation, clamp: float = 0.0, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Changes `x`, which nothing else may need: bias [C] (float32; x is [B,C,H,W] then), leaky ReLU (no gain), then ±clamp if
    clamp > 0; no gradient beyond. A derivative that is to be differentiated once more is one by `x` alone."""
    slope = SLOPE if activation == "lrelu" else 1.0
    return _Bounded.apply(x, bias, slope, clamp) if slope != 1 or clamp > 0 or bias is not None else x
