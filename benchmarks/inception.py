"""Inception with random weights: it takes as long as the real one, and no more.

For timing a metric pass where inception-2015-12-05.pt is not at hand. Its features mean nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ag3d.evaluation.metrics.inception_network import conv_names, convolutions, layers


def save(path: Path) -> Path:
    """Write random weights as a state dict."""
    torch.manual_seed(0)
    state = {}
    for (name, _), convolution in zip(conv_names(), convolutions(layers()), strict=True):
        state[f"{name}.conv.weight"] = convolution.weight.detach()
        zeros = torch.zeros(convolution.out_channels)
        state |= {f"{name}.bn.bias": zeros, f"{name}.bn.running_mean": zeros, f"{name}.bn.running_var": zeros + 1}
    torch.save(state, path)
    return path
