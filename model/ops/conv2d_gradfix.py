"""Convolutions that R1 can differentiate twice.

PyTorch's second derivative by the weights is a convolution whose kernels are as large as the pictures, which a GPU has no fast
way for: with it, R1 at 512 pixels takes eleven times as long.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def conv2d(
    x: Tensor,  # [B,I,H,W]
    weight: Tensor,  # [O,I,k,k]
    bias: Tensor | None = None,  # [O]
    stride: int = 1,
    padding: int = 0,
    double_backward: bool = False,
) -> Tensor:
    """As F.conv2d. `double_backward`: the gradient by `x` will be differentiated once more (that by the weights can not be)."""
    if double_backward:
        return _Conv2d.apply(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding)


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.bias_size = None if bias is None else [len(bias)]
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more
            by_x = _Conv2dGradient.apply(gradient, x.detach(), weight, ctx.stride, ctx.padding)
            return by_x, None, None, None, None
        needs = ctx.needs_input_grad[:3]
        return *_gradients(gradient, x, weight, ctx.stride, ctx.padding, ctx.bias_size, needs), None, None


class _Conv2dGradient(torch.autograd.Function):
    """The derivative by the picture `x`, of which only the size matters. It is linear in the gradient and in the weight."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.stride, ctx.padding = stride, padding
        by_x = _gradients(gradient, x, weight, stride, padding, None, (True, False, False))[0]
        assert by_x is not None
        return by_x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        needs_gradient, _, needs_weight = ctx.needs_input_grad[:3]
        by_gradient = F.conv2d(outer, weight, None, ctx.stride, ctx.padding) if needs_gradient else None
        needs = (False, needs_weight, False)
        by_weight = _gradients(gradient, outer, weight, ctx.stride, ctx.padding, None, needs)[1]
        return by_gradient, None, by_weight, None, None


def _gradients(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: int,
    padding: int,
    bias_size: list[int] | None,
    needs: tuple[bool, bool, bool],
) -> tuple[Tensor | None, ...]:
    """By picture, weight and bias."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, bias_size, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, needs
    )
