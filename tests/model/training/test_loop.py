from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ag3d.config import Machine
from ag3d.errors import UserError
from ag3d.model.training.loop import Loop
from ag3d.model.training.processes import Processes


def test_a_gpu_that_is_too_small_is_told_with_the_key_to_change():
    def step(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    settings = SimpleNamespace(batch=32)
    trainer = SimpleNamespace(step=step, steps=1, images=32, settings=settings, processes=Processes(), micro_batch=8)
    for machine, advice in (
        (Machine(), r"8 images at once: set machine\.record to false .* or machine\.micro_batch"),
        (Machine(record=False), r"8 images at once: set machine\.micro_batch"),
    ):
        loop = Loop(trainer, run=None, part=None, previews=None, machine=machine)
        with pytest.raises(UserError, match=advice):
            loop.until(10, [None], request=None)
