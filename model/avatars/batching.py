"""Work in parts that fit into the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ag3d.core.console import log
from ag3d.core.errors import UserError

T = TypeVar("T")
_SHORT = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of torch says that there was too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _SHORT)


def map_with_oom_backoff(count: int, size: int, make: Callable[[slice], T], what: str = "image") -> Iterator[T]:
    """`make` for slices of `size` that cover range(count); with too little memory the size is halved, and stays so.

    Raises UserError where the memory does not suffice for one.
    """
    start = 0
    while start < count:
        try:
            result = make(slice(start, min(start + size, count)))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise UserError(
                    f"the memory does not suffice for one {what}; use --device cpu, another GPU or a smaller network"
                ) from None
            size = max(1, size // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            log.warning("out of memory: going on with %d %ss at once", size, what)
            continue
        yield result
        start += size
