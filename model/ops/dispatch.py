"""Which version of an operation computes: the CUDA kernel where there is one for the tensor, else plain PyTorch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch

from ag3d.model.ops import compiler

FLOAT32 = (torch.float32,)
IMAGE_TYPES = (torch.float32, torch.bfloat16, torch.float16)

# Of the process, not of a context: autograd's backward passes run in threads of their own.
_enabled = os.environ.get("AG3D_CUDA_KERNELS", "1") != "0"


@contextlib.contextmanager
def cuda_kernels(enabled: bool) -> Iterator[None]:
    """Allow or forbid the kernels in all threads. Without, `AG3D_CUDA_KERNELS=0` in the environment forbids them."""
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def use_cuda_kernels(tensor: torch.Tensor, dtypes: tuple[torch.dtype, ...] = FLOAT32) -> bool:
    """Whether the kernel computes with this tensor, one of the `dtypes` that it knows."""
    return _enabled and tensor.dtype in dtypes and compiler.runs_on(tensor.device)
