"""The moving average of the generator's weights, which is what makes the pictures."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def average_of(network: Network) -> Network:
    """A copy to hold the moving average."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, beta: float) -> None:
    """average ← network + beta · (average - network); buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - beta)
    for kept, new in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(new)
