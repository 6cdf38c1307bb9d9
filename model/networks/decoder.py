"""The field's decoder: from tri-plane features to a residual signed value and a colour."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ag3d.model.networks.stylegan2_layers import FullyConnectedLayer
from ag3d.model.ops.constants import COLOR_MARGIN


class Decoder(nn.Module):
    """features [n,C] to residual [n] and colour [n,colors]."""

    def __init__(self, features: int, hidden: int, colors: int, residual_scale: float = 1.0) -> None:
        super().__init__()
        self.features = features
        first, last = FullyConnectedLayer(features, hidden), FullyConnectedLayer(hidden, 1 + colors)
        with torch.no_grad():
            last.weight[0] *= residual_scale
        self.net = nn.Sequential(first, nn.Softplus(), last)

    @property
    def layers(self) -> tuple[FullyConnectedLayer, FullyConnectedLayer]:
        first, last = self.net[0], self.net[2]
        assert isinstance(first, FullyConnectedLayer)
        assert isinstance(last, FullyConnectedLayer)
        return first, last

    def weights(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """w1 [H,C], b1 [H], w2 [1+K,H], b2 [1+K], as they act."""
        first, last = self.layers
        return *first.effective_parameters(), *last.effective_parameters()

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual [n] and colour [n,colors] of features [n,C]."""
        first, last = self.layers
        out = last(F.softplus(first(features)))
        return out[:, 0], torch.sigmoid(out[:, 1:]) * (1 + 2 * COLOR_MARGIN) - COLOR_MARGIN
