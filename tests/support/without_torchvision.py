"""Packages that import torchvision for parts which the tests do not use."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch


@contextmanager
def torchvision_or_stand_in() -> Iterator[None]:
    """torchvision is importable: itself where it is installed, else modules whose every name is an empty class."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):
            for name in ("", ".datasets", ".models", ".models.inception", ".transforms", ".transforms.functional"):
                patch.setitem(sys.modules, f"torchvision{name}", StandIn(f"torchvision{name}"))
        yield


class StandIn(types.ModuleType):
    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return sys.modules.get(f"{self.__name__}.{name}") or type(name, (torch.nn.Module,), {})
