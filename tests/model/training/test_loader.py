from __future__ import annotations

from itertools import islice

import pytest
import torch

from ag3d.model.training.data import Loader, Sampler, ZipDataset


def test_every_pass_is_a_permutation():
    sampler = Sampler(7, seed=3)
    passes = [tuple(sampler.range(7 * i, 7 * i + 7)) for i in range(5)]
    assert all(sorted(order) == list(range(7)) for order in passes)
    assert len(set(passes)) > 1
    assert Sampler(7, seed=4).range(0, 35) != sampler.range(0, 35)


def test_position_is_the_whole_state():
    sampler = Sampler(10, seed=0)
    assert sampler.range(0, 57)[23:] == Sampler(10, seed=0).range(23, 57)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_resumes_anywhere_with_any_number_of_workers(shards, workers):
    dataset, sampler = ZipDataset(shards, 8), Sampler(9, seed=1)
    whole = Loader(dataset, sampler, batch=4, workers=0)
    expected = list(islice(whole, 8))
    assert whole.position == 32
    loader = Loader(dataset, sampler, batch=4, position=12, workers=workers)
    resumed = list(islice(loader, 5))
    assert loader.position == 32
    for a, b in zip(expected[3:], resumed):
        for x, y in zip(a, b):
            assert torch.equal(x, y)
    loader.close()


def test_shares_of_processes_make_the_global_batch(shards):
    dataset, sampler = ZipDataset(shards, 8), Sampler(9, seed=1)
    whole = next(iter(Loader(dataset, sampler, batch=6, workers=0)))
    parts = [next(iter(Loader(dataset, sampler, batch=6, first=r * 2, share=2, workers=0))) for r in range(3)]
    for number in range(3):
        assert torch.equal(whole[number], torch.cat([part[number] for part in parts]))


def test_a_broken_entry_is_told_not_swallowed(shards):
    dataset = ZipDataset(shards, 8)
    shard = dataset._shards[0]

    def fail(name):
        raise ValueError(name)

    shard.image = fail
    loader = Loader(dataset, Sampler(9, seed=1), batch=9, workers=2)
    with pytest.raises(ValueError, match="img_"):
        next(iter(loader))
    loader.close()
