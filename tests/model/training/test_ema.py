from __future__ import annotations

import torch
from torch import nn

from ag3d.model.training import optim


def network(value: float) -> nn.Module:
    made = nn.BatchNorm1d(2)
    made.weight.data.fill_(value)
    made.running_mean.fill_(10 * value)
    return made


def test_weights_follow_and_buffers_are_copied():
    average, moving = optim.copy_for_ema(network(1.0)), network(3.0)
    for _ in range(3):
        optim.update_ema(average, moving, 0.5)
    assert torch.allclose(average.weight, torch.full((2,), 3 - 2 * 0.5**3))
    assert average.running_mean.tolist() == [30, 30]
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_zero_takes_the_network_over():
    average = optim.copy_for_ema(network(1.0))
    optim.update_ema(average, network(3.0), 0.0)
    assert average.weight.tolist() == [3, 3]
