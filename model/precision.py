"""In which precision networks compute. Weights, optimisers, field and body are float32 in any case."""

from __future__ import annotations

import torch

from ag3d.model.generator import Generator
from ag3d.model.networks.discriminator import Discriminators

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_precision(precision: str, device: torch.device, training: bool) -> str:
    """What `auto` means: float32 on a processor; on a GPU bfloat16, whose range suits gradients, or float16 for pictures."""
    if precision != "auto":
        return precision
    if device.type != "cuda":
        return "float32"
    if not training:
        return "float16"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "tf32"


def set_precision(precision: str, *networks: Generator | Discriminators) -> None:
    """Let the networks' convolutions compute so (not `auto`): backbone, super-resolution, discriminators' blocks."""
    dtype = _DTYPES.get(precision, torch.float32)
    for network in networks:
        network.set_compute_dtype(dtype)
        if dtype != torch.float32:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def allow_tf32(precision: str) -> None:
    """For the process: whether float32 convolutions may round to TF32. Matrix products of float32 never do."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = precision != "float32"
