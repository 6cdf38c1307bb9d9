"""The discriminators' layer: filter, convolution, bias, leaky ReLU and clamp, in as few passes over the images as there are."""

from __future__ import annotations

import math

import torch

from ag3d.model.ops.bias_act import Activation, bias_act_
from ag3d.model.ops.conv2d_gradfix import conv2d
from ag3d.model.ops.dispatch import IMAGE_TYPES, use_cuda_kernels
from ag3d.model.ops.upfirdn2d import upfirdn2d


def conv2d_bias_act(
    x: torch.Tensor,  # [B,I,H,W]
    weight: torch.Tensor,  # [O,I,k,k] in the precision of `x`; k is odd
    bias: torch.Tensor | None,  # [O] float32
    activation: Activation,
    clamp: float = 0.0,
    down: bool = False,
    double_backward: bool = False,
) -> torch.Tensor:
    """[B,O,H,W]; with `down`, filtered and half as large. `double_backward`: the gradient by `x` will be differentiated once more."""
    kernel = weight.shape[-1]
    late_bias = use_cuda_kernels(x, IMAGE_TYPES)  # with the activation; PyTorch's convolution adds it in passing
    early = None if bias is None or late_bias else bias.to(x.dtype)
    parts = 1
    if not down:
        parts = parts_of(x) if kernel == 1 else 1
        x = conv2d(divided(x, parts), weight, early, padding=kernel // 2, double_backward=double_backward)
    elif kernel == 1:
        x = upfirdn2d(x, down=2, pad=1, double_backward=double_backward)
        x = conv2d(x, weight, early, double_backward=double_backward)
    else:
        x = upfirdn2d(x, pad=2, double_backward=double_backward)
        x = conv2d(x, weight, early, stride=2, double_backward=double_backward)
    return united(bias_act_(x, bias if late_bias else None, activation, clamp), parts)


def parts_of(x: torch.Tensor) -> int:
    """Into how many parts to divide each of the images [B,C,H,W] before a 1×1 convolution.

    With one thread of a processor PyTorch takes a slower way for fewer than 16 large images.
    """
    return 1 if x.is_cuda or len(x) >= 16 or x[0, 0].numel() < 1024 else math.gcd(x.shape[2], 16)


def divided(x: torch.Tensor, parts: int) -> torch.Tensor:
    """[B,C,H,W] to [B·parts,C,H/parts,W], without a copy where x is channels-last."""
    if parts == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(1, (parts, -1)).flatten(0, 1)
    return rows.permute(0, 3, 1, 2)


def united(x: torch.Tensor, parts: int) -> torch.Tensor:
    """What `divided` divided."""
    if parts == 1:
        return x
    rows = x.permute(0, 2, 3, 1).unflatten(0, (-1, parts)).flatten(1, 2)
    return rows.permute(0, 3, 1, 2)
