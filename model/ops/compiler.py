"""CUDA C++ to machine code by NVRTC, through cuda-core: no compiler need be installed.

The sources are plain enough to be compiled by any C++ compiler too, which is how they are tested without a GPU.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
from contextlib import nullcontext
from importlib import resources
from typing import Any

import numpy as np
import torch

log = logging.getLogger("ag3d")
THREADS = 128  # of a block; __launch_bounds__ in common.cuh
Argument = torch.Tensor | int | float | np.int64 | None


@functools.cache
def available() -> bool:
    """Whether kernels can be compiled and launched. Told once where there is a GPU and they cannot."""
    if not torch.cuda.is_available():
        return False
    missing = "an NVIDIA GPU" if torch.version.cuda is None else ""
    if not missing and importlib.util.find_spec("cuda.core") is None:
        missing = "the package cuda-core"
    if missing:
        log.warning("the fast kernels need %s; the plain code is used, which is several times slower", missing)
    return not missing


def runs_on(device: torch.device) -> bool:
    """Whether kernels can be launched on the device."""
    return device.type == "cuda" and available()


def source(name: str) -> str:
    """The whole source of `name`.cu."""
    folder = resources.files(__package__)
    return (folder / "common.cuh").read_text() + (folder / f"{name}.cu").read_text()


def compile_cubin(name: str, arch: str, sizes: tuple[tuple[str, int], ...]) -> Any:
    """Machine code of `name`.cu for `arch` (sm_90 …), with the macros `sizes`. Needs no GPU."""
    from cuda.core import Program, ProgramOptions

    macros = [f"{key}={value}" for key, value in sizes]
    return Program(source(name), "c++", ProgramOptions(std="c++17", arch=arch, define_macro=macros)).compile("cubin")


@functools.cache
def _kernel(name: str, entry: str, sizes: tuple[tuple[str, int], ...], device: int) -> Any:
    from cuda.core import Device

    Device(device).set_current()
    major, minor = torch.cuda.get_device_capability(device)
    return _module(name, f"sm_{major}{minor}", sizes).get_kernel(entry)


_module = functools.cache(compile_cubin)


@functools.lru_cache(maxsize=64)
def _stream(handle: int) -> Any:
    from cuda.core import Stream

    return Stream.from_handle(handle)


@functools.lru_cache(maxsize=4096)
def _config(blocks: int) -> Any:
    from cuda.core import LaunchConfig

    return LaunchConfig(grid=blocks, block=THREADS)


@functools.cache
def _run() -> Any:
    from cuda.core import launch

    return launch


def launch(name: str, entry: str, items: int, device: torch.device, *arguments: Argument, **sizes: int) -> None:
    """Run kernel `entry` of `name`.cu, a thread an item. Tensors go as pointers (None: a null one), numbers as int and float.

    The kernels know of no strides but those they are given; a number that the kernel takes as `long` is given as np.int64.
    """
    if items == 0:
        return
    index = device.index if device.index is not None else torch.cuda.current_device()
    kernel = _kernel(name, entry, tuple(sizes.items()), index)
    with nullcontext() if index == torch.cuda.current_device() else torch.cuda.device(index):
        stream = _stream(torch.cuda.current_stream(index).cuda_stream)
        _run()(stream, _config((items + THREADS - 1) // THREADS), kernel, *map(_value, arguments))


def _value(argument: Argument) -> Any:
    if argument is None:
        return 0
    if isinstance(argument, torch.Tensor):
        return argument.data_ptr()
    if isinstance(argument, np.generic):
        return argument
    return np.float32(argument) if isinstance(argument, float) else np.int32(argument)
