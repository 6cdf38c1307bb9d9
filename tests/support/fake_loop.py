"""The training's loop around a trainer that only counts."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import torch

from ag3d.config import Machine, Training
from ag3d.model.training.distributed import Processes
from ag3d.model.training.monitoring import Averages
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.ticks import Ticks
from ag3d.model.training.training_loop import training_loop


class FakeTrainer:
    """Its discriminators win from 40 images on."""

    def __init__(self):
        self.settings, self.processes = Training(batch_size=2), Processes()
        self.steps, self.averages, self.device = 0, Averages(), torch.device("cpu")
        self.G_ema, self.augment = None, SimpleNamespace(adaptive=False)
        self.graphs, self.micro_batch = SimpleNamespace(on=False), 0

    @property
    def images(self):
        return 2 * self.steps

    def step(self, batch):
        self.steps += 1
        self.averages.add("loss/D", torch.tensor(1.0 if self.images <= 40 else 1e-5))
        self.averages.add("loss/G", torch.tensor(1.0))

    def tensors(self):
        return {"w": torch.tensor([float(self.images)])}

    def values(self):
        return {"steps": self.steps, "averages": self.averages.sums()}


def ticks_in(folder, images, patience=0, pictures=None, observers=()):
    """The ticks of a training of so many images, with its files in `folder`."""
    previews = SimpleNamespace(save=lambda *_: folder / "picture.png", statistics=pictures or {})
    machine = Machine(log_every_images=10, checkpoint_minutes=0.0, preview_every=1, patience=patience)
    stage = SimpleNamespace(key="key", number=0, end=images)
    return Ticks(FakeTrainer(), RunFolder(folder), stage, previews, machine, observers=observers)


def train(ticks):
    """The training's loop around the counting trainer."""
    training_loop(ticks.trainer, itertools.repeat(None), ticks, SimpleNamespace(number=0))
