from __future__ import annotations

import pytest
import torch
from support.fake_loop import ticks_in, train

from ag3d.core.errors import UserError


@pytest.mark.parametrize(
    ("cuda_graphs", "micro_batch", "advice"),
    [
        (True, 0, r"2 images at once: set machine\.cuda_graphs to false .* or machine\.micro_batch"),
        (False, 1, r"1 images at once: set machine\.micro_batch"),  # with micro-batches nothing is recorded
    ],
)
def test_a_gpu_that_is_too_small_is_told_with_the_key_to_change(tmp_path, cuda_graphs, micro_batch, advice):
    def step(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    ticks = ticks_in(tmp_path, 20)
    ticks.trainer.step = step
    ticks.trainer.graphs.on, ticks.trainer.micro_batch = cuda_graphs, micro_batch
    with pytest.raises(UserError, match=advice):
        train(ticks)
