"""The kernels' sources compiled as plain C++, each kernel run item after item: their arithmetic without a GPU."""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ag3d.model.ops import compiler

_LOOP = """
extern "C" void each_{name}(long how_many{arguments}) {{
    for (long each = 0; each < how_many; ++each) {{ thread_index = each; {name}({names}); }}
}}
"""


def compiler_or_skip() -> str:
    found = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    if found is None:
        pytest.skip("no C++ compiler here")
    return found


@functools.cache
def library(name: str, sizes: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
    text = compiler.source(name)
    for kernel, declared in re.findall(r"KERNEL3? (\w+)\(([^)]*)\)", text.split("#endif", 1)[1]):
        names = [part.split()[-1].lstrip("*") for part in declared.split(",")]
        text += _LOOP.format(name=kernel, arguments=", " + declared, names=", ".join(names))
    folder = Path(tempfile.mkdtemp(prefix="ag3d-kernels-"))
    (folder / f"{name}.cpp").write_text(text)
    macros = [f"-D{key}={value}" for key, value in sizes]
    command = [compiler_or_skip(), "-O2", "-std=c++17", "-w", "-shared", "-fPIC", "-DHOST", *macros]
    subprocess.run([*command, f"{name}.cpp", "-o", f"{name}.so"], cwd=folder, check=True, capture_output=True)
    loaded = ctypes.CDLL(str(folder / f"{name}.so"))
    shutil.rmtree(folder)
    return loaded


def launch(name: str, entry: str, items: int, device: torch.device, *arguments: Any, **sizes: int) -> None:
    """As the compiler's `launch`, on the processor."""
    function = getattr(library(name, tuple(sorted(sizes.items()))), f"each_{entry}")
    function(ctypes.c_long(items), *map(_value, arguments))


def _value(argument: Any) -> Any:
    value = compiler._value(argument)
    if argument is None or isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(value)
    return {np.int32: ctypes.c_int, np.int64: ctypes.c_long, np.float32: ctypes.c_float}[type(value)](value.item())


def on_the_processor(patch: pytest.MonkeyPatch) -> None:
    """Let the operations take their kernels on the processor, with this module's launch."""
    compiler_or_skip()
    patch.setattr(compiler, "launch", launch)
    patch.setattr(compiler, "runs_on", lambda device: True)
