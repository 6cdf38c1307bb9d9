"""The reference's tensor names are ours; only constants and statistics that we do not keep are left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def ours(state: Mapping[str, T]) -> dict[str, T]:
    """The reference's parameters and buffers under our names, of the generator or the discriminators."""
    return {name: value for name, value in state.items() if not _is_left_out(name)}


def _is_left_out(name: str) -> bool:
    """FIR filters are constants of ours, the labels' deviation was never used."""
    return name.rsplit(".", maxsplit=1)[-1] == "resample_filter" or name == "dataset_label_std"
