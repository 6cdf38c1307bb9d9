"""Means of what the steps report, and the file that keeps them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from ag3d.core.files import write_text
from ag3d.model.training.distributed import Processes


class Averages:
    """Sums and counts since the last tick; part of the saved state, so that a resumed run writes the same numbers."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, values: torch.Tensor) -> None:
        """Add all elements of `values`; nothing is copied from the device."""
        self._sums[name] = self._sums.get(name, 0.0) + values.detach().double().sum()
        self._counts[name] = self._counts.get(name, 0) + values.numel()

    def sums(self) -> dict[str, tuple[float, int]]:
        return {name: (float(value), self._counts[name]) for name, value in sorted(self._sums.items())}

    def means(self) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.sums().items()}

    def fold(self, processes: Processes) -> None:
        """Bring together in the first process what all have added; all must take part."""
        sums = self.sums()
        numbers = processes.sum_numbers([number for pair in sums.values() for number in pair])
        self.restore({name: numbers[2 * i : 2 * i + 2] for i, name in enumerate(sums)}, processes.rank == 0)

    def clear(self) -> None:
        self._sums.clear()
        self._counts.clear()

    def state(self) -> dict[str, list[float]]:
        return {name: [total, count] for name, (total, count) in self.sums().items()}

    def restore(self, state: dict[str, list[float]], first: bool = True) -> None:
        """Go on from `state`. Only the first process takes its numbers, but all have its names: processes add up their
        numbers in the order of the names, and some names come with few steps (R1)."""
        self._sums = {name: total if first else 0.0 for name, (total, _) in state.items()}
        self._counts = {name: int(count) if first else 0 for name, (_, count) in state.items()}


def bad_values(means: dict[str, float]) -> list[str]:
    """Names whose value is NaN or infinite."""
    return [name for name, value in means.items() if not math.isfinite(value)]


class MetricsFile:
    """metrics.jsonl: a row a tick, each with the number of `images`; resuming never doubles a row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """The whole rows; a line cut off by a crash is dropped."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                break
        return found

    def rewind(self, images: int) -> None:
        """Forget rows beyond `images`."""
        if self.path.exists():
            kept = [row for row in self.rows() if row["images"] <= images]
            write_text(self.path, "".join(json.dumps(row) + "\n" for row in kept))

    def append(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row, allow_nan=False) + "\n")
