"""Bias, leaky ReLU and clamp in one step that keeps only its result."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ag3d.model.ops import compiler
from ag3d.model.ops.dispatch import IMAGE_TYPES, use_cuda_kernels

Activation = Literal["linear", "lrelu"]
SLOPE = 0.2


def activation_gain(activation: Activation) -> float:
    """The gain that keeps the variance."""
    return math.sqrt(2) if activation == "lrelu" else 1.0


def bias_act_(x: Tensor, bias: Tensor | None = None, activation: Activation = "linear", clamp: float = 0.0) -> Tensor:
    """Changes `x`, which nothing else may need: bias [C] (float32; x is [B,C,H,W] then), leaky ReLU (no gain), then ±clamp if
    clamp > 0; no gradient beyond. A derivative that is to be differentiated once more is one by `x` alone."""
    slope = SLOPE if activation == "lrelu" else 1.0
    return _BiasAct.apply(x, bias, slope, clamp) if slope != 1 or clamp > 0 or bias is not None else x


class _BiasAct(torch.autograd.Function):
    """In place. The result's sign and size tell both derivatives, and the layer above keeps the result anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, slope: float, clamp: float) -> Tensor:
        ctx.mark_dirty(x)
        if use_cuda_kernels(x, IMAGE_TYPES) and _is_dense(x):
            bias_act_cuda_(x, bias, slope, clamp)
        else:
            clamp = bias_act_torch_(x, bias, slope, clamp)
        ctx.save_for_backward(x)
        ctx.slope, ctx.clamp = slope, clamp
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        double_backward = torch.is_grad_enabled()  # this is to be differentiated once more
        function = _BiasActGradient.apply if double_backward else bias_act_gradient
        by_x = function(gradient, ctx.saved_tensors[0].detach(), ctx.slope, ctx.clamp)
        needs_bias = ctx.needs_input_grad[1] and not double_backward
        return by_x, _sum_by_channel(by_x) if needs_bias else None, None, None


class _BiasActGradient(torch.autograd.Function):
    """Itself differentiable by the gradient (R1 needs that), with the result as a constant, which is exact: the activation
    is linear wherever it has a derivative."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, result: Tensor, slope: float, clamp: float) -> Tensor:
        ctx.save_for_backward(result)
        ctx.slope, ctx.clamp = slope, clamp
        return bias_act_gradient(gradient, result, slope, clamp)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _BiasActGradient.apply(gradient, ctx.saved_tensors[0], ctx.slope, ctx.clamp), None, None, None


def bias_act_torch_(x: Tensor, bias: Tensor | None, slope: float, clamp: float) -> float:
    """Returns the clamp that the gradient must respect: zero where nothing was clamped."""
    if bias is not None:
        x.add_(bias.to(x.dtype)[:, None, None])
    if slope != 1:
        F.leaky_relu_(x, slope)
    if clamp > 0 and not x.is_cuda and -clamp < x.amin() and x.amax() < clamp:
        clamp = 0.0  # looking is cheaper on a processor than clamping, here and on the way back
    if clamp > 0:
        F.hardtanh_(x, -clamp, clamp)
    return clamp


def bias_act_cuda_(x: Tensor, bias: Tensor | None, slope: float, clamp: float) -> None:
    """x: [B,C,…] without gaps in memory."""
    items, vec = _groups(x)
    inner = x[0, 0].numel() if x.is_contiguous() else 1
    compiler.launch(
        "images", "activate", items, x.device,
        np.int64(items), x, bias, x.shape[1], np.int64(inner), float(slope), float(clamp),
        TYPE=IMAGE_TYPES.index(x.dtype), VEC=vec, UP=1, DOWN=1,
    )  # fmt: skip


def bias_act_gradient(gradient: Tensor, result: Tensor, slope: float, clamp: float) -> Tensor:
    """The derivative of leaky ReLU and clamp where they gave `result`, times `gradient`."""
    if use_cuda_kernels(gradient, IMAGE_TYPES) and _is_dense(gradient) and gradient.stride() == result.stride():
        return bias_act_gradient_cuda(gradient, result, slope, clamp)
    return bias_act_gradient_torch(gradient, result, slope, clamp)


def bias_act_gradient_torch(gradient: Tensor, result: Tensor, slope: float, clamp: float) -> Tensor:
    if clamp > 0:
        gradient = torch.ops.aten.hardtanh_backward(gradient, result, -clamp, clamp)
    if slope != 1:
        gradient = torch.ops.aten.leaky_relu_backward(gradient, result, slope, True)
    return gradient


def bias_act_gradient_cuda(gradient: Tensor, result: Tensor, slope: float, clamp: float) -> Tensor:
    """Both in the same layout, without gaps."""
    out = torch.empty_like(gradient)
    items, vec = _groups(gradient)
    compiler.launch(
        "images", "derivative", items, gradient.device,
        np.int64(items), gradient, result, out, float(slope), float(clamp),
        TYPE=IMAGE_TYPES.index(gradient.dtype), VEC=vec, UP=1, DOWN=1,
    )  # fmt: skip
    return out


def _sum_by_channel(gradient: Tensor) -> Tensor:
    """The sum [C] of [B,C,H,W]: along rows first where channels lie side by side, for which a GPU has a faster way."""
    if gradient.is_contiguous():
        return gradient.sum((0, 2, 3), dtype=torch.float32)
    rows = gradient.permute(0, 2, 3, 1).flatten(0, 1)
    return rows.sum(1, dtype=torch.float32).sum(0)


def _is_dense(x: Tensor) -> bool:
    """Whether the numbers of `x` lie without gaps in memory."""
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))


def _groups(x: Tensor) -> tuple[int, int]:
    """How many threads the kernel needs, and how many numbers each takes."""
    vec = 4 if x.numel() % 4 == 0 and x.data_ptr() % 16 == 0 else 1
    return x.numel() // vec, vec
