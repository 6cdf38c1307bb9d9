"""Resampling with the binomial filter [1,3,3,1], as StyleGAN2 defines it."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ag3d.model.ops import compiler
from ag3d.model.ops.dispatch import IMAGE_TYPES, use_cuda_kernels

_RUN = 4  # pixels that a thread of the kernel makes


def upfirdn2d(
    x: Tensor, up: int = 1, down: int = 1, pad: int = 0, gain: float = 1.0, double_backward: bool = False
) -> Tensor:
    """Upsample, filter, downsample: `up` - 1 zeros after each pixel of x [B,C,H,W], padding, outer([1,3,3,1], [1,3,3,1]) / 64
    · `gain`, every `down`-th pixel.

    `up` and `down` are 1 or 2, one of them 1. `pad` zeros come before the first pixel; as many after the last, with `up` 2
    one less. `double_backward`: the gradient will be differentiated once more.
    """
    height, width = ((up * side + 2 * pad - 4) // down + (2 - up) for side in x.shape[2:])
    # PyTorch's second derivative of a grouped convolution loops over channels.
    own = double_backward or use_cuda_kernels(x, IMAGE_TYPES)
    return (_Upfirdn2d.apply if own else upfirdn2d_torch)(x, up, down, pad, (height, width), gain)


def upsample2d(x: Tensor) -> Tensor:
    """[B,C,H,W] to [B,C,2H,2W]."""
    return upfirdn2d(x, up=2, pad=2, gain=4.0)


class _Upfirdn2d(torch.autograd.Function):
    """Its adjoint is itself, with `up` and `down` changing places, so it can be differentiated at will."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: int, down: int, pad: int, size: tuple[int, int], gain: float) -> Tensor:
        ctx.adjoint = down, up, 3 - pad, tuple(x.shape[2:]), gain
        function = upfirdn2d_cuda if use_cuda_kernels(x, IMAGE_TYPES) else upfirdn2d_torch
        return function(x, up, down, pad, size, gain)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        return _Upfirdn2d.apply(gradient, *ctx.adjoint), None, None, None, None, None


def upfirdn2d_torch(x: Tensor, up: int, down: int, pad: int, size: tuple[int, int], gain: float) -> Tensor:
    """As a convolution, or a transposed one, of each channel; `size` is the result's."""
    channels = x.shape[1]
    kernel = _kernel(gain, x.dtype, x.device).expand(channels, 1, 4, 4)
    if up == 1:
        return F.conv2d(x, kernel, stride=down, padding=pad, groups=channels)
    missing = [wanted - (2 * side + 2 * pad - 4) for wanted, side in zip(size, x.shape[2:])]
    return F.conv_transpose2d(x, kernel, stride=2, padding=3 - pad, output_padding=missing, groups=channels)


@functools.cache
def _kernel(gain: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[4,4]. Kept, so that no step copies it to the device again."""
    with torch.inference_mode(False):
        taps = torch.tensor((1.0, 3.0, 3.0, 1.0), dtype=torch.float64) / 8
        return (torch.outer(taps, taps) * gain).to(device, dtype)


def upfirdn2d_cuda(x: Tensor, up: int, down: int, pad: int, size: tuple[int, int], gain: float) -> Tensor:
    """Of images in any layout and precision; the result has the layout of `x`."""
    batch, channels, height, width = x.shape
    channels_last = x.stride(1) == 1 and channels > 1
    layout = torch.channels_last if channels_last else torch.contiguous_format
    out = torch.empty((batch, channels, *size), dtype=x.dtype, device=x.device, memory_format=layout)
    vec = 16 // x.element_size()  # a thread reads 16 bytes at once
    steps = (channels, *x.stride()[2:], x.stride(0))
    if not channels_last or x.data_ptr() % 16 or any(step % vec for step in steps):
        vec = 1
    items = out.numel() // size[1] * -(-size[1] // _RUN) // vec
    strides = [np.int64(step) for step in (*x.stride(), *out.stride())]
    compiler.launch(
        "images", "fir", items, x.device,
        np.int64(items), x, out, channels, height, width, *size, pad, float(gain), *strides,
        int(not channels_last), TYPE=IMAGE_TYPES.index(x.dtype), VEC=vec, UP=up, DOWN=down,
    )  # fmt: skip
    return out
