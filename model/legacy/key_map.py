"""Walking the modules of a released checkpoint: their tensors, their options, and the body that came along."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ag3d.model.legacy.allowed_names import Attributed, Parameter, Persistent, Tensor
from ag3d.model.safe_pickle.unpickler import Inert, Values

DEEPEST = 24  # modules within modules; the network has seven
MOST_TENSORS = 20_000
MOST_OBJECTS = 1_000_000


def attributes(thing: Any) -> dict[str, Any]:
    """An object's attributes, whatever wrote it; empty where it has none."""
    if isinstance(thing, Persistent):
        meta = thing.arguments[0]
        state = meta.get("state") if isinstance(meta, dict) else None
    else:
        state = thing.state if isinstance(thing, Inert) else None
    if isinstance(state, tuple) and len(state) == 2:  # with slots
        state = state[0]
    return state if isinstance(state, dict) else {}


def tensors(module: Any, values: Values) -> tuple[dict[str, np.ndarray], set[str]]:
    """Parameters and buffers of a module and all inside it, by dotted name, and which are buffers. Raises ValueError."""
    named = list(_named(module))
    found = {name: values.array(tensor) for name, tensor, _ in named}
    return found, {name for name, _, is_buffer in named if is_buffer}


def _named(module: Any) -> Iterator[tuple[str, Any, bool]]:
    waiting = [("", module, 0)]
    count = 0
    while waiting:
        prefix, current, depth = waiting.pop()
        count += 1
        state = attributes(current)
        if depth > DEEPEST or count > MOST_TENSORS or "_modules" not in state:
            raise ValueError(f"'{prefix or 'the network'}' is no module, or holds too many")
        for group in ("_parameters", "_buffers"):
            for name, value in _entries(state, group):
                if isinstance(value, (Tensor, Parameter, Attributed)):
                    count += 1
                    yield prefix + name, value, group == "_buffers"
        waiting += [
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
    found: Any = state
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if type(found) in (int, float, bool, str) else None


def find(root: Any, wanted: str) -> Iterator[dict[str, Any]]:
    """Every mapping with the key `wanted`, anywhere below `root`; modules count with their tensors as attributes."""
    waiting: list[Any] = [root]
    seen: set[int] = set()
    while waiting and len(seen) < MOST_OBJECTS:
        current = waiting.pop()
        if id(current) in seen or not isinstance(current, (dict, list, tuple, Inert)):
            continue
        seen.add(id(current))
        if isinstance(current, Inert):
            waiting += [current.arguments, current.state]
        elif isinstance(current, dict):
            groups = [current, *(current.get(group) for group in ("_parameters", "_buffers"))]
            whole = {name: value for group in groups if isinstance(group, dict) for name, value in group.items()}
            if wanted in whole:
                yield whole
            waiting += list(current.values())
        else:
            waiting += current
