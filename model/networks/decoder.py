"""The field's decoder: from tri-plane features to a residual signed value, its gradient, and a colour."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from ag3d.model.networks.layers import FullyConnected


class Decoder(nn.Module):
    """features [n,C] to residual [n] and colour [n,colors]."""

    def __init__(self, features: int, hidden: int, colors: int, residual_scale: float = 1.0) -> None:
        super().__init__()
        first, last = FullyConnected(features, hidden), FullyConnected(hidden, 1 + colors)
        with torch.no_grad():
            last.weight[0] *= residual_scale
        self.net = nn.Sequential(first, nn.Softplus(), last)

    @property
    def layers(self) -> tuple[FullyConnected, FullyConnected]:
        first, last = self.net[0], self.net[2]
        assert isinstance(first, FullyConnected)
        assert isinstance(last, FullyConnected)
        return first, last

    def forward(
        self, features: torch.Tensor, jacobian: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns residual [n], colour [n,colors], and with the features' jacobian [n,3,C] the residual's gradient [n,3].

        The gradient is the chain rule written out, so that training through it needs only an ordinary backward pass.
        """
        first, last = self.layers
        before = first(features)
        out = last(F.softplus(before))
        color = torch.sigmoid(out[:, 1:]) * (1 + 2 * 0.001) - 0.001
        if jacobian is None:
            return out[:, 0], color, None
        slope = last.weight[0] * (last.lr / math.sqrt(last.weight.shape[1])) * torch.sigmoid(before)
        slope = slope @ (first.weight * (first.lr / math.sqrt(first.weight.shape[1])))
        return out[:, 0], color, torch.einsum("ndc,nc->nd", jacobian, slope)

    def residual(self, features: torch.Tensor) -> torch.Tensor:
        """The signed value alone, [n]."""
        first, last = self.layers
        weight = last.weight[0] * (last.lr / math.sqrt(last.weight.shape[1]))
        return F.softplus(first(features)) @ weight + last.bias[0] * last.lr
