"""The body that a released checkpoint was trained with: found inside it, and compared with body files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.legacy.key_map import mappings_with
from ag3d.model.safe_pickle.unpickler import DAMAGED, Values

SAME = 1e-5  # metres, or units of the blend shapes; files differ in rounding only
MOST_BODIES = 8  # that a checkpoint is searched for
_COMPARED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "faces")
_OTHER_NAMES = {"weights": "lbs_weights", "faces": "faces_tensor"}


def embedded_arrays(network: Any, values: Values) -> dict[str, np.ndarray] | None:
    """The body's arrays as a body file has them; None where the network holds no whole body."""
    for state in itertools.islice(mappings_with(network, "v_template"), MOST_BODIES):
        try:
            arrays = {name: values.array(_part(state, name)) for name in _COMPARED}
        except (*DAMAGED, UserError):
            continue
        if all(array.dtype.kind in "iuf" for array in arrays.values()):
            return arrays
    return None


def _part(state: Mapping[str, Any], name: str) -> Any:
    other = _OTHER_NAMES.get(name, name)
    return state[other] if other in state else state[name]


@dataclass
class Comparison:
    """How a body file differs from the body inside."""

    path: Path
    body: Body
    difference: float  # the largest, over all tensors; infinite where shapes differ

    @property
    def same(self) -> bool:
        return self.difference <= SAME


def compare(inside: Body | None, paths: Sequence[Path]) -> list[Comparison]:
    """The body files, the most similar first; none where there is none inside. Raises UserError where one cannot be read."""
    bodies = [(path, Body.load(path)) for path in paths]
    if inside is None:
        return []
    comparisons = [Comparison(path, body, _difference(inside, body)) for path, body in bodies]
    return sorted(comparisons, key=lambda each: each.difference)


def _difference(one: Body, other: Body) -> float:
    largest = 0.0
    for name in _COMPARED:
        a, b = getattr(one, name), getattr(other, name)
        if a is None or b is None:  # no pose corrections, or none but zeros
            a, b = (torch.zeros(1) if each is None else each.abs().max()[None] for each in (a, b))
        if a.shape != b.shape:
            return float("inf")
        largest = max(largest, float((a.double() - b.double()).abs().max()))
    return largest
