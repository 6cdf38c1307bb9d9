"""The training's command, with one process that fails in its third step: FAIL is its rank."""

from __future__ import annotations

import os

from ag3d.core import console
from ag3d.model.training import stage
from ag3d.model.training.trainer import Trainer

if os.environ["FAIL"] == os.environ["RANK"]:
    step = Trainer.step

    def failing(self: Trainer, batch) -> None:
        if self.steps == 2:
            raise RuntimeError("this process fails on purpose")
        step(self, batch)

    Trainer.step = failing  # type: ignore[method-assign]

console.run(stage.main)
