"""Resampling with the binomial filter [1,3,3,1], as StyleGAN2 defines it."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_TAPS = (1.0, 3.0, 3.0, 1.0)


def filter2d(
    images: torch.Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int], gain: float = 1.0
) -> torch.Tensor:
    """Insert up-1 zeros after each pixel, pad (before, after), correlate, keep every `down`-th pixel.

    images: [B,C,H,W]. The filter is outer([1,3,3,1], [1,3,3,1]) / 64 times `gain`; it is separable and symmetric, so
    rows and columns are filtered one after the other. Zero insertion becomes a transposed convolution.
    """
    channels = images.shape[1]
    taps = torch.tensor(_TAPS, dtype=images.dtype, device=images.device) * (gain**0.5 / 8)
    for axis in (2, 3):
        shape = (channels, 1, 4, 1) if axis == 2 else (channels, 1, 1, 4)
        kernel = taps.view(shape[2:]).expand(shape)
        stride_up = (up, 1) if axis == 2 else (1, up)
        stride_down = (down, 1) if axis == 2 else (1, down)
        if up > 1:
            # The transposed convolution yields the fully padded result (3 before, 4 - up after); pad or crop to `pad`.
            images = F.conv_transpose2d(images, kernel, stride=stride_up, groups=channels)
            before, after = pad[0] - 3, pad[1] - (4 - up)
            images = F.pad(images, (0, 0, before, after) if axis == 2 else (before, after))
            if down > 1:
                images = images[:, :, ::down] if axis == 2 else images[:, :, :, ::down]
        else:
            images = F.pad(images, (0, 0, *pad) if axis == 2 else pad)
            images = F.conv2d(images, kernel, stride=stride_down, groups=channels)
    return images


def upsample(images: torch.Tensor) -> torch.Tensor:
    """[B,C,H,W] to [B,C,2H,2W]."""
    return filter2d(images, up=2, pad=(2, 1), gain=4)


def downsample(images: torch.Tensor) -> torch.Tensor:
    """[B,C,H,W] to [B,C,H/2,W/2]."""
    return filter2d(images, down=2, pad=(1, 1))


def resize(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Antialiased bilinear resize to a square of side `resolution`."""
    if images.shape[-1] == resolution and images.shape[-2] == resolution:
        return images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)
