"""Walking the modules of a released checkpoint: their tensors under our names, their options, and the body that came along."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

import numpy as np

from ag3d.model.legacy.allowed_names import Attributed, Parameter, Persistent, Tensor
from ag3d.model.safe_pickle.unpickler import Inert, Values

T = TypeVar("T")
DEEPEST = 24  # modules within modules; the network has seven
MOST_TENSORS = 20_000
MOST_OBJECTS = 1_000_000


def attributes(value: Any) -> dict[str, Any]:
    """An object's attributes, whatever wrote it; empty where it has none."""
    if isinstance(value, Persistent):
        meta = value.arguments[0]
        state = meta.get("state") if isinstance(meta, dict) else None
    else:
        state = value.state if isinstance(value, Inert) else None
    if isinstance(state, tuple) and len(state) == 2:  # with slots
        state = state[0]
    return state if isinstance(state, dict) else {}


def tensors(module: Any, values: Values) -> tuple[dict[str, np.ndarray], set[str]]:
    """Parameters and buffers of a module and all inside it, by dotted name, and which are buffers. Raises ValueError."""
    named = list(_named(module))
    arrays = {name: values.array(tensor) for name, tensor, _ in named}
    return arrays, {name for name, _, is_buffer in named if is_buffer}


def _named(module: Any) -> Iterator[tuple[str, Any, bool]]:
    stack = [("", module, 0)]
    count = 0
    while stack:
        prefix, current, depth = stack.pop()
        state = attributes(current)
        children = state.get("_modules")
        count += 1 + (len(children) if isinstance(children, dict) else 0)  # one mapping may be many modules' children
        if depth > DEEPEST or count > MOST_TENSORS or "_modules" not in state:
            raise ValueError(f"'{prefix or 'the network'}' is no module, or holds too many")
        for group in ("_parameters", "_buffers"):
            for name, value in _entries(state, group):
                if isinstance(value, (Tensor, Parameter, Attributed)):
                    count += 1
                    yield prefix + name, value, group == "_buffers"
        stack += [
            (f"{prefix}{name}.", child, depth + 1) for name, child in _entries(state, "_modules") if child is not None
        ]


def _entries(state: dict[str, Any], group: str) -> Iterator[tuple[str, Any]]:
    entries = state.get(group)
    for name, value in entries.items() if isinstance(entries, dict) else ():
        if not isinstance(name, str) or len(name) > 100 or not name.isprintable():
            raise ValueError("a tensor without a proper name")
        yield name, value


def option(state: dict[str, Any], *path: str) -> int | float | bool | str | None:
    """A plain value among nested mappings, None where there is none."""
    value: Any = state
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if type(value) in (int, float, bool, str) else None


def mappings_with(root: Any, key: str) -> Iterator[MutableMapping[str, Any]]:
    """Every mapping with the key `wanted`, anywhere below `root`; modules count with their tensors as attributes."""
    stack: list[Any] = [root]
    visited: set[int] = set()
    while stack and len(visited) < MOST_OBJECTS:
        current = stack.pop()
        if id(current) in visited or not isinstance(current, (dict, list, tuple, Inert)):
            continue
        visited.add(id(current))
        if isinstance(current, Inert):
            stack += [current.arguments, current.state]
        elif isinstance(current, dict):
            groups = [current.get("_buffers"), current.get("_parameters"), current]
            merged = ChainMap(*(group for group in groups if isinstance(group, dict)))
            if key in merged:
                yield merged
            stack += list(current.values())
        else:
            stack += current


def our_tensors(state: Mapping[str, T]) -> dict[str, T]:
    """Parameters and buffers of the generator or the discriminators; the reference's names are ours.

    Only constants and statistics that we do not keep are left out.
    """
    return {name: value for name, value in state.items() if not _is_left_out(name)}


def _is_left_out(name: str) -> bool:
    """FIR filters are constants of ours, the labels' deviation was never used."""
    return name.rsplit(".", maxsplit=1)[-1] == "resample_filter" or name == "dataset_label_std"
