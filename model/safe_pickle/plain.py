"""Pickled dictionaries of plain arrays and numbers, as other programs write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ag3d.core.bounded import allowance
from ag3d.model.safe_pickle.unpickler import Values, common_names, read, refusing

_HINT = "A file of joblib must be saved anew with numpy.savez first (docs/data.md)."


def read_plain(path: Path, what: str) -> dict[str, Any]:
    """What of a pickled dictionary is an array, a number, or a list of numbers and text; `what` such a file should be.

    Nothing in it is executed. Raises UserError.
    """
    with refusing(path, what, _HINT):
        content, values = read(path, common_names), Values(allowance(path.stat().st_size))
        if not isinstance(content, dict):
            raise ValueError("it holds no dictionary")
        found = {str(key): values(value) for key, value in content.items()}
        return {key: value for key, value in found.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str | int | float) for each in value)
    return isinstance(value, np.ndarray | int | float)
