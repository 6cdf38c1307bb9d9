"""R1 differentiates what it calls twice. For that, PyTorch's own ways are slow, and the layers have ways of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

_twice = False


@contextlib.contextmanager
def differentiated_twice() -> Iterator[None]:
    """What is called within it can be differentiated by pictures, and the result by anything. Derivatives by weights cannot be
    differentiated once more."""
    global _twice
    _twice = True
    try:
        yield
    finally:
        _twice = False


def twice() -> bool:
    """Whether what is called now is differentiated twice. Elsewhere, calls from Python on the way back only take time."""
    return _twice
