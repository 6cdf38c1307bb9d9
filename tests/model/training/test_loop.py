from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ag3d.config import Machine
from ag3d.core.errors import UserError
from ag3d.model.training.distributed import Processes
from ag3d.model.training.loop import Loop


def test_a_gpu_that_is_too_small_is_told_with_the_key_to_change():
    def step(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    settings = SimpleNamespace(batch_size=32)
    trainer = SimpleNamespace(step=step, steps=1, images=32, settings=settings, processes=Processes())
    for trainer.records, trainer.micro_batch, advice in (
        (True, 0, r"32 images at once: set machine\.cuda_graphs to false .* or machine\.micro_batch"),
        (False, 8, r"8 images at once: set machine\.micro_batch"),  # with micro-batches nothing is recorded
    ):
        loop = Loop(trainer, run=None, part=None, previews=None, machine=Machine())
        with pytest.raises(UserError, match=advice):
            loop.until(10, [None], request=None)
