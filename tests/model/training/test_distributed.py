from __future__ import annotations

import pytest
import torch
from support.gather import gather

from ag3d.model.training import rng
from ag3d.model.training.distributed import Processes


@pytest.mark.parametrize("batch", [8, 7, 1])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("micro", [0, 2])
def test_chunks_cover_the_batch_once(batch, world, micro):
    places = [
        place for rank in range(world) for chunk in Processes(rank, world).chunks(batch, micro) for place in chunk
    ]
    assert places == list(range(batch))
    shares = [len(Processes(rank, world).share(batch)) for rank in range(world)]
    assert max(shares) - min(shares) <= 1  # a process without work would keep the others waiting
    if micro:
        assert all(len(c) <= micro for rank in range(world) for c in Processes(rank, world).chunks(batch, micro))


def test_processes_agree(tmp_path):
    with torch.multiprocessing.Manager() as manager:
        answers = manager.dict()
        torch.multiprocessing.spawn(gather, (2, tmp_path / "meeting", answers), nprocs=2)
        assert answers[0] == answers[1] == ([3.0, 1e5, -2.0], [2.0, 1.0], 7, True, False)


def test_gradients_become_finite():
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.tensor([float("nan"), float("inf"), -float("inf"), 2.0])
    Processes().sum_gradients([parameter, torch.nn.Parameter(torch.zeros(1))])
    assert parameter.grad.tolist() == [0.0, 1e5, -1e5, 2.0]


def test_draws_depend_on_seed_step_and_purpose_alone():
    z = rng.latents(0, 5, "Gmain", 4, 8)
    torch.manual_seed(99)
    assert torch.equal(z, rng.latents(0, 5, "Gmain", 4, 8))
    others = [rng.latents(*args, 4, 8) for args in ((1, 5, "Gmain"), (0, 6, "Gmain"), (0, 5, "Dmain"))]
    assert not any(torch.equal(z, other) for other in others)
    rows = rng.rows(0, 5, "Gmain", 1000, 3)
    assert set(rows.tolist()) == {0, 1, 2}
    rng.seed_everything(0, 1, "Gmain", 4)
    first = torch.rand(2)
    rng.seed_everything(0, 1, "Gmain", 4)
    assert torch.equal(first, torch.rand(2))
