"""Filter and activation on images of any strides and precision. The plain twins are in model/networks."""

from __future__ import annotations

import numpy as np
import torch

from ag3d.model.ops import compiler
from ag3d.model.ops.compiler import launch

_RUN = 4  # pixels a thread of the filter makes
_OTHER = {"UP": 1, "DOWN": 1}  # for the kernels that do not resample
_TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def fast(tensor: torch.Tensor) -> bool:
    """Whether the kernels take this tensor."""
    return tensor.is_cuda and tensor.dtype in _TYPES and compiler.available()


def fir(images: torch.Tensor, up: int, down: int, pad: int, size: tuple[int, int], gain: float) -> torch.Tensor:
    """Images [B,C,H,W]: up - 1 zeros after each pixel, `pad` zeros before the first, filter, every `down`-th pixel, `size` of them."""
    batch, channels, height, width = images.shape
    beside = images.stride(1) == 1 and channels > 1
    layout = torch.channels_last if beside else torch.contiguous_format
    out = torch.empty((batch, channels, *size), dtype=images.dtype, device=images.device, memory_format=layout)
    vec = 16 // images.element_size()  # a thread reads 16 bytes at once
    steps = (channels, *images.stride()[2:], images.stride(0))
    if not beside or images.data_ptr() % 16 or any(step % vec for step in steps):
        vec = 1
    items = out.numel() // size[1] * -(-size[1] // _RUN) // vec
    strides = [np.int64(step) for step in (*images.stride(), *out.stride())]
    launch(
        "images", "fir", items, images.device,
        np.int64(items), images, out, channels, height, width, *size, pad, float(gain), *strides,
        int(not beside), TYPE=_TYPES[images.dtype], VEC=vec, UP=up, DOWN=down,
    )  # fmt: skip
    return out


def activate_(x: torch.Tensor, bias: torch.Tensor | None, slope: float, clamp: float) -> None:
    """Bias [C] (float32), leaky ReLU and ±clamp (0: none) in place; `x` [B,C,…] without gaps in memory."""
    items, vec = _groups(x)
    inner = x[0, 0].numel() if x.is_contiguous() else 1
    launch(
        "images", "activate", items, x.device,
        np.int64(items), x, bias, x.shape[1], np.int64(inner), float(slope), float(clamp),
        TYPE=_TYPES[x.dtype], VEC=vec, **_OTHER,
    )  # fmt: skip


def derivative(gradient: torch.Tensor, result: torch.Tensor, slope: float, clamp: float) -> torch.Tensor:
    """The derivative of `activate_` where it gave `result`, times `gradient` of the same layout."""
    out = torch.empty_like(gradient)
    items, vec = _groups(gradient)
    launch(
        "images", "derivative", items, gradient.device,
        np.int64(items), gradient, result, out, float(slope), float(clamp),
        TYPE=_TYPES[gradient.dtype], VEC=vec, **_OTHER,
    )  # fmt: skip
    return out


def _groups(x: torch.Tensor) -> tuple[int, int]:
    vec = 4 if x.numel() % 4 == 0 and x.data_ptr() % 16 == 0 else 1
    return x.numel() // vec, vec


def dense(x: torch.Tensor) -> bool:
    """Whether the numbers of `x` lie without gaps in memory."""
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))
