"""Dataclasses of tensors that share their first dimension, handled as one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(eq=False)
class TensorDataclass:
    """For dataclasses whose fields are tensors, others of this kind, or anything else, which stays as it is."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed by `function`."""
        return replace(self, **{name: _map(value, function) for name, value in self._items()})

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device))

    def __getitem__(self, index: Any) -> Self:
        """The rows of `index`: a slice, or a tensor of numbers or of truth values."""
        return self.map(lambda tensor: tensor[index])

    def split(self, sizes: Sequence[int]) -> list[Self]:
        """Parts of so many rows."""
        ends = itertools.accumulate(sizes, initial=0)
        return [self[start:end] for start, end in itertools.pairwise(ends)]

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """The rows of all `parts`, which are alike in what is no tensor."""
        columns = {name: [getattr(part, name) for part in parts] for name, _ in parts[0]._items()}
        return replace(parts[0], **{name: _cat(values) for name, values in columns.items()})

    def _items(self) -> list[tuple[str, Any]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, TensorDataclass):
        return value.map(function)
    return function(value) if isinstance(value, Tensor) else value


def _cat(values: list[Any]) -> Any:
    if isinstance(values[0], TensorDataclass):
        return type(values[0]).cat(values)
    return torch.cat(values) if isinstance(values[0], Tensor) else values[0]
