"""Mapping networks: from latent and condition to style codes."""

from __future__ import annotations

import torch
from torch import nn

from ag3d.model.networks.stylegan2_layers import FullyConnectedLayer, normalize_second_moment


class MappingNetwork(nn.Module):
    """z [B,z_dim] and condition c [B,c_dim] to ws [B,num_ws,w_dim]; with z_dim 0, c alone to [B,w_dim]; with c_dim 0, z alone."""

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_layers: int, num_ws: int = 0) -> None:
        super().__init__()
        self.num_ws = num_ws
        self.num_layers = num_layers
        if c_dim:
            self.embed = FullyConnectedLayer(c_dim, w_dim)
        widths = [z_dim + (w_dim if c_dim else 0)] + [w_dim] * num_layers
        for index in range(num_layers):
            setattr(self, f"fc{index}", FullyConnectedLayer(widths[index], widths[index + 1], "lrelu", lr=0.01))
        if num_ws:
            self.w_avg: torch.Tensor
            self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(
        self, z: torch.Tensor | None, c: torch.Tensor | None, truncation: float = 1.0, update_average: bool = False
    ) -> torch.Tensor:
        parts = [] if z is None else [normalize_second_moment(z)]
        if c is not None:
            parts.append(normalize_second_moment(self.embed(c)))
        x = torch.cat(parts, dim=1)
        for index in range(self.num_layers):
            x = getattr(self, f"fc{index}")(x)
        if not self.num_ws:
            return x
        if update_average:
            self.w_avg.copy_(x.detach().mean(dim=0).lerp(self.w_avg, 0.998))
        if truncation != 1:
            x = self.w_avg.lerp(x, truncation)
        return x[:, None].expand(-1, self.num_ws, -1)
