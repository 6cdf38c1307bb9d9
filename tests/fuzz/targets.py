"""The table of the project's readers: which file each opens, and how it is called as its commands call it."""

from __future__ import annotations

import importlib

from tests.fuzz import targets_evaluation, targets_model, targets_preprocessing
from tests.fuzz.runner import Target

_HEAVY = ("torch", "pandas", "pyarrow.parquet", "cv2", "PIL.Image", "safetensors.torch", "ag3d.model.training.trainer")
_ALL = [*targets_model.TARGETS, *targets_preprocessing.TARGETS, *targets_evaluation.TARGETS]
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}


def import_all() -> None:
    """Before processes are forked."""
    for name in _HEAVY:
        importlib.import_module(name)
