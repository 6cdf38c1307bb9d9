"""Where tensors live."""

from __future__ import annotations

import os
import platform
import warnings

import torch

from ag3d.core.errors import UserError


def choose_device(name: str, key: str) -> torch.device:
    """The device of the setting or option `key`: 'auto' is CUDA where there is one. Raises UserError naming `key`.

    Under torchrun each process has a GPU of its own, which is made the process's current one.
    """
    _grow_memory()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        rank, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if 0 < gpus <= rank:
            raise UserError(f"more processes than GPUs: this machine has {gpus}; set machine.gpus to that number")
        name = f"cuda:{rank}"
    try:
        device = torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"{key} is '{name}', which is not here ({error}); use auto or cpu") from error
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _grow_memory() -> None:
    """Let PyTorch take a GPU's memory in pieces that can grow: the number of samples changes from step to step, and whole
    pieces that are a little too small would be left behind. Before CUDA is first used."""
    if platform.system() == "Linux":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")


def device_name(device: torch.device) -> str:
    """The card, or what kind of processor it is: for records of measurements."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def repeatable(device: torch.device) -> None:
    """For the process: the same command gives the same numbers. On a GPU, sums would be added up in any order."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        torch.use_deterministic_algorithms(True, warn_only=True)
