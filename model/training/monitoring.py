"""What is watched of a training: means of what its steps report, and their file; TensorBoard and Weights & Biases; collapse."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from ag3d.config import Machine
from ag3d.core.bounded import MOST_TEXT, read_bytes
from ag3d.core.errors import UserError
from ag3d.core.files import sealed, unsealed, write_text
from ag3d.core.shards import decode_image
from ag3d.model.training.distributed import Processes

log = logging.getLogger(__name__)
WON = 0.01  # a loss below: the other side's logits are wrong by more than 4.6 in the mean
ALIKE = 0.002  # variety or contrast below, where white - black is 2: less than an 8-bit step


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

    def totals(self, processes: Processes) -> dict[str, tuple[float, float]]:
        """The sums and counts of all processes together; all must take part."""
        sums = self.sums()
        numbers = processes.sum_numbers([number for pair in sums.values() for number in pair])
        return dict(zip(sums, zip(numbers[::2], numbers[1::2])))

    def means(self, processes: Processes | None = None) -> dict[str, float]:
        return {name: total / count for name, (total, count) in self.totals(processes or Processes()).items()}

    def fold(self, processes: Processes) -> None:
        """Bring together in the first process what all have added; all must take part."""
        self.restore(self.totals(processes), processes.rank == 0)

    def clear(self) -> None:
        self._sums.clear()
        self._counts.clear()

    def restore(self, sums: Mapping[str, Sequence[float]], first: bool = True) -> None:
        """Go on from what `sums` gave. Only the first process takes its numbers, but all have its names: processes add up their
        numbers in the order of the names, and some names come with few steps (R1)."""
        self._sums = {name: total if first else 0.0 for name, (total, _) in sums.items()}
        self._counts = {name: int(count) if first else 0 for name, (_, count) in sums.items()}


def bad_values(means: dict[str, float]) -> list[str]:
    """Names whose value is NaN or infinite."""
    return [name for name, value in means.items() if not math.isfinite(value)]


class MetricsFile:
    """metrics.jsonl: a row a tick, each with the number of `images`; resuming never doubles a row."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[dict[str, Any]]:
        """The whole rows. A line cut off by a crash is dropped; damaged ones are told."""
        if not self.path.exists():
            return []
        rows, damaged = [], []
        lines = read_bytes(self.path, MOST_TEXT).splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            row = _whole_row(line)
            if row is not None:
                rows.append(row)
            elif line.endswith(b"\n"):
                damaged.append(number)
        if damaged:
            log.warning("%s: %d damaged rows are left out, the first is line %d", self.path, len(damaged), damaged[0])
        return rows

    def rewind(self, images: int) -> None:
        """Forget rows beyond `images`."""
        if self.path.exists():
            rows = [row for row in self.rows() if row["images"] <= images]
            write_text(self.path, "".join(_line(row) for row in rows))

    def append(self, row: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(_line(row))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(sealed(row), allow_nan=False) + "\n"


def _whole_row(line: bytes) -> dict[str, Any] | None:
    """A row of finite numbers, which has its own checksum, if it has one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not unsealed(row) or not isinstance(row.get("images"), int):
        return None
    numbers = all(isinstance(value, int | float) and abs(value) < math.inf for value in row.values())
    return row if numbers else None


class Observer(Protocol):
    def tick(self, row: dict[str, Any]) -> None:
        """Take in a row of metrics.jsonl."""

    def picture(self, path: Path, images: int) -> None:
        """Take in a grid of previews."""

    def close(self) -> None: ...


def check_observers(machine: Machine) -> None:
    """Raises UserError for a package that is asked for and missing."""
    for name in ("tensorboard", "wandb"):
        if getattr(machine, name) and importlib.util.find_spec(name) is None:
            raise UserError(
                f"machine.{name} is true, but the package {name} is not installed: .venv/bin/python -m pip install {name}, or set it to false"
            )


def make_observers(machine: Machine, folder: Path, images: int, key: str, settings: dict[str, Any]) -> list[Observer]:
    """Those that are asked for. `images`: where training goes on; `key`: name of the training; `settings`: to show."""
    observers: list[Observer] = []
    if machine.tensorboard:
        observers.append(TensorBoard(folder / "tensorboard", images))
    if machine.wandb:
        observers.append(WeightsAndBiases(folder, key, settings))
    return observers


class TensorBoard:
    """Scalars and previews over the number of images, in `folder`."""

    def __init__(self, folder: Path, images: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # What an interrupted start wrote beyond the state that training goes on from is not shown.
        self._writer = SummaryWriter(str(folder), purge_step=images + 1)

    def tick(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "images":
                self._writer.add_scalar(name, value, row["images"])
        self._writer.flush()

    def picture(self, path: Path, images: int) -> None:
        self._writer.add_image("previews", decode_image(path.read_bytes(), str(path)), images, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """The same at Weights & Biases. Its own environment variables say where: WANDB_PROJECT, WANDB_MODE=offline, …"""

    def __init__(self, folder: Path, key: str, settings: dict[str, Any]) -> None:
        import wandb

        self._wandb = wandb
        project = os.environ.get("WANDB_PROJECT", "ag3d")
        name = folder.resolve().parent.name  # results/<run>/training
        self._run = wandb.init(
            project=project, name=name, id=f"{name}-{key}", dir=str(folder), resume="allow", config=settings
        )

    def tick(self, row: dict[str, Any]) -> None:
        self._run.log(row, step=row["images"])

    def picture(self, path: Path, images: int) -> None:
        self._run.log({"previews": self._wandb.Image(str(path))}, step=images)

    def close(self) -> None:
        self._run.finish()


class CollapseDetector:
    """Signs that a training has failed without a NaN: one side always wins, or the pictures no longer differ.

    Counts the ticks in a row that had a symptom. All was well until `since` images.
    """

    def __init__(self) -> None:
        self.ticks = 0
        self.since = 0
        self.symptoms: list[str] = []
        self._pictures: dict[str, float] = {}

    def tick(self, row: dict[str, Any]) -> None:
        """Take in a row of metrics.jsonl. Rows without pictures keep what the last pictures said."""
        self._pictures |= {name: row[name] for name in ("ema/variety", "ema/contrast") if name in row}
        self.symptoms = symptoms({**row, **self._pictures})
        self.ticks = self.ticks + 1 if self.symptoms else 0
        if not self.ticks:
            self.since = row["images"]


def symptoms(row: dict[str, float]) -> list[str]:
    """What is wrong, in words."""
    checks = {
        "loss/D": (WON, "the discriminators always tell generated people from real ones"),
        "loss/G": (WON, "the discriminators always take generated people for real ones"),
        "ema/variety": (ALIKE, "all generated people are alike"),
        "ema/contrast": (ALIKE, "the generated pictures are empty"),
    }
    return [words for name, (least, words) in checks.items() if row.get(name, 1.0) < least]
