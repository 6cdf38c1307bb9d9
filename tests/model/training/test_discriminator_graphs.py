"""Captured launches train as plain ones do."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ag3d.model.body.body import Body
from ag3d.model.cuda_graphs import GraphedCallable, GraphPool
from ag3d.model.training.trainer import Trainer, TrainerOptions


def test_without_a_gpu_a_graphed_function_is_just_called():
    graphed = GraphedCallable(lambda x, times: times * x)
    graphed.enable(GraphPool())
    assert graphed(torch.ones(3), times=2).tolist() == [2, 2, 2]
    assert not graphed.graphs


@pytest.mark.gpu
@pytest.mark.parametrize("reuse_fakes", [False, True])
def test_a_recorded_training_is_the_plain_one(make_trainer, uint8_batch, tiny_body: Body, reuse_fakes: bool):
    """Losses and weights after steps with every phase, each of which comes again after others that share its memory.

    Sums are in another order on a GPU, so not bit for bit.
    """
    like = make_trainer()
    settings = dataclasses.replace(like.settings, d_reg_interval=2, density_reg_every=2, reuse_fakes=reuse_fakes)
    network, labels = like.network, like.labels.cpu()

    def train(record: bool) -> Trainer:
        options = TrainerOptions(torch.device("cuda"), cuda_graphs=record)
        trainer = Trainer(settings, network, tiny_body, labels, options)
        for _ in range(5):
            trainer.step(uint8_batch)
        return trainer

    plain, recorded = train(False), train(True)
    for name, network_of in plain.networks().items():
        mine = torch.cat([p.detach().flatten() for p in recorded.networks()[name].parameters()])
        theirs = torch.cat([p.detach().flatten() for p in network_of.parameters()])
        assert (mine - theirs).norm() < 1e-2 * theirs.norm(), name
    for name, (total, count) in plain.averages.sums().items():
        assert recorded.averages.sums()[name][0] == pytest.approx(total, rel=0.05, abs=0.02 * count), name
