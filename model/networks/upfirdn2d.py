"""Resampling with the binomial filter [1,3,3,1], as StyleGAN2 defines it."""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F

from ag3d.model.networks.double_backward import twice
from ag3d.model.ops import image_ops as kernels


@functools.cache
def _kernel(gain: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """outer([1,3,3,1], [1,3,3,1]) / 64 · gain, symmetric: [4,4]. Kept, so that no step copies it to the device again."""
    with torch.inference_mode(False):
        taps = torch.tensor((1.0, 3.0, 3.0, 1.0), dtype=torch.float64) / 8
        return (torch.outer(taps, taps) * gain).to(device, dtype)


class _Filter(torch.autograd.Function):
    """A zero after each pixel with `up` 2, padding, the filter, every `down`-th pixel. Its adjoint is itself, with `up` and
    `down` changing places, so it can be differentiated at will."""

    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, up: int, down: int, pad: int, size: tuple[int, int], gain: float
    ) -> torch.Tensor:
        ctx.arguments = down, up, 3 - pad, tuple(images.shape[2:]), gain
        if kernels.fast(images):
            return kernels.fir(images, up, down, pad, size, gain)
        return _plain(images, up, down, pad, size, gain)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None, None]:
        return _Filter.apply(gradient, *ctx.arguments), None, None, None, None, None


def _plain(images: torch.Tensor, up: int, down: int, pad: int, size: tuple[int, int], gain: float) -> torch.Tensor:
    channels = images.shape[1]
    kernel = _kernel(gain, images.dtype, images.device).expand(channels, 1, 4, 4)
    if up == 1:
        return F.conv2d(images, kernel, stride=down, padding=pad, groups=channels)
    more = [wanted - (2 * side + 2 * pad - 4) for wanted, side in zip(size, images.shape[2:])]
    return F.conv_transpose2d(images, kernel, stride=2, padding=3 - pad, output_padding=more, groups=channels)


def _filtered(images: torch.Tensor, up: int, down: int, pad: int, gain: float) -> torch.Tensor:
    height, width = ((up * side + 2 * pad - 4) // down + (2 - up) for side in images.shape[2:])
    own = kernels.fast(images) or twice()  # PyTorch's second derivative of a grouped convolution loops over channels
    return (_Filter.apply if own else _plain)(images, up, down, pad, (height, width), gain)


def filter2d(images: torch.Tensor, *, pad: int, down: int = 1, gain: float = 1.0) -> torch.Tensor:
    """Pad images [B,C,H,W] with zeros, filter, keep every `down`-th pixel."""
    return _filtered(images, 1, down, pad, gain)


def upsample(images: torch.Tensor) -> torch.Tensor:
    """[B,C,H,W] to [B,C,2H,2W]: a zero after each pixel, padding (2,1), filter with gain 4."""
    return _filtered(images, 2, 1, 2, 4.0)


def downsample(images: torch.Tensor) -> torch.Tensor:
    """[B,C,H,W] to [B,C,H/2,W/2]."""
    return filter2d(images, down=2, pad=1)


def resize(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Antialiased bilinear resize to a square of side `resolution`."""
    if images.shape[-1] == resolution and images.shape[-2] == resolution:
        return images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)
