"""Convolutions that R1 can differentiate twice.

PyTorch's second derivative by the weights is a convolution whose kernels are as large as the pictures, which a GPU has no fast
way for: with it, R1 at 512 pixels takes eleven times as long.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from ag3d.model.networks.double_backward import twice


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, *, stride: int = 1, padding: int = 0
) -> torch.Tensor:
    """As F.conv2d: x [B,I,H,W], weight [O,I,k,k], bias [O]."""
    if twice():
        return _Convolution.apply(x, weight, bias, stride, padding)
    return F.conv2d(x, weight, bias, stride, padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sizes = None if bias is None else [len(bias)]
        ctx.steps = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.steps
        if torch.is_grad_enabled():  # to be differentiated once more
            return _ByPicture.apply(gradient, x.detach(), weight, stride, padding), None, None, None, None
        found = _derivatives(gradient, x, weight, stride, padding, ctx.sizes, ctx.needs_input_grad[:3])
        return *found, None, None


class _ByPicture(torch.autograd.Function):
    """The derivative by the picture `x`, of which only the size matters. It is linear in the gradient and in the weight."""

    @staticmethod
    def forward(
        ctx: Any, gradient: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
    ) -> torch.Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.steps = stride, padding
        found = _derivatives(gradient, x, weight, stride, padding, None, (True, False, False))[0]
        assert found is not None
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_result: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        stride, padding = ctx.steps
        by_gradient = F.conv2d(by_result, weight, None, stride, padding) if ctx.needs_input_grad[0] else None
        wanted = (False, ctx.needs_input_grad[2], False)
        found = _derivatives(gradient, by_result, weight, stride, padding, None, wanted)
        return by_gradient, None, found[1], None, None


def _derivatives(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    padding: int,
    bias: list[int] | None,  # its size
    wanted: tuple[bool, bool, bool],
) -> tuple[torch.Tensor | None, ...]:
    """By picture, weight and bias."""
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, bias, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], 1, wanted
    )
