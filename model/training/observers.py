"""TensorBoard and Weights & Biases, where they are asked for and installed; metrics.jsonl and the previews are always there."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any, Protocol

from ag3d.config import Machine
from ag3d.core.errors import UserError
from ag3d.core.shards import decode_image


class Observer(Protocol):
    def tick(self, row: dict[str, Any]) -> None:
        """Take in a row of metrics.jsonl."""

    def picture(self, path: Path, images: int) -> None:
        """Take in a grid of previews."""

    def close(self) -> None: ...


def check(machine: Machine) -> None:
    """Raises UserError for a package that is asked for and missing."""
    for name in ("tensorboard", "wandb"):
        if getattr(machine, name) and importlib.util.find_spec(name) is None:
            raise UserError(
                f"machine.{name} is true, but the package {name} is not installed: .venv/bin/python -m pip install {name}, or set it to false"
            )


def observers(machine: Machine, folder: Path, images: int, key: str, settings: dict[str, Any]) -> list[Observer]:
    """Those that are asked for. `images`: where training goes on; `key`: name of the training; `settings`: to show."""
    found: list[Observer] = []
    if machine.tensorboard:
        found.append(TensorBoard(folder / "tensorboard", images))
    if machine.wandb:
        found.append(WeightsAndBiases(folder, key, settings))
    return found


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
        name = folder.resolve().parent.name  # results/<run>/train
        self._run = wandb.init(
            project=project, name=name, id=f"{name}-{key}", dir=str(folder), resume="allow", config=settings
        )

    def tick(self, row: dict[str, Any]) -> None:
        self._run.log(row, step=row["images"])

    def picture(self, path: Path, images: int) -> None:
        self._run.log({"previews": self._wandb.Image(str(path))}, step=images)

    def close(self) -> None:
        self._run.finish()
