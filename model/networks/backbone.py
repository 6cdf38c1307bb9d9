"""The StyleGAN2-type backbone that draws the tri-planes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ag3d.config import Network
from ag3d.model.networks.mapping import MappingNetwork
from ag3d.model.networks.stylegan2_layers import NoiseMode, SynthesisLayer, ToRGBLayer
from ag3d.model.ops.upfirdn2d import upsample2d


def channels_at(resolution: int, settings: Network) -> int:
    return min(settings.channel_base // resolution, settings.channel_max)


class SynthesisBlock(nn.Module):
    """One resolution of the 'skip' architecture."""

    def __init__(self, in_channels: int, out_channels: int, image_channels: int, w_dim: int, resolution: int) -> None:
        super().__init__()
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=True)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution)
        self.torgb = ToRGBLayer(out_channels, image_channels, w_dim)
        self.first = in_channels == 0

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, noise_mode: NoiseMode, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """`ws`: [B,2 or 3,w_dim], the codes of conv0 (not in the first block), conv1 and torgb; `dtype` is of x."""
        codes = iter(ws.unbind(dim=1))
        if self.first:
            x = self.const[None].expand(len(ws), -1, -1, -1)
            x = x.to(dtype, memory_format=torch.channels_last)
        else:
            assert x is not None
            x = self.conv0(x, next(codes), noise_mode)
        x = self.conv1(x, next(codes), noise_mode)
        drawn = self.torgb(x, next(codes))
        return x, drawn if image is None else upsample2d(image) + drawn


class SynthesisNetwork(nn.Module):
    """ws [B,num_ws,w_dim] to an image of `image_channels` at `resolution`. Neighbouring blocks share a code.

    The convolutions compute in `dtype`; the image is float32.
    """

    def __init__(self, settings: Network, resolution: int, image_channels: int) -> None:
        super().__init__()
        self.resolutions = [2**power for power in range(2, int(math.log2(resolution)) + 1)]
        self.num_ws = 2 * len(self.resolutions)
        self.dtype = torch.float32
        below = 0
        for side in self.resolutions:
            width = channels_at(side, settings)
            setattr(self, f"b{side}", SynthesisBlock(below, width, image_channels, settings.w_dim, side))
            below = width

    def forward(self, ws: Tensor, noise_mode: NoiseMode = "const") -> Tensor:
        x = image = None
        start = 0
        for side in self.resolutions:
            count = 2 if side == 4 else 3
            x, image = getattr(self, f"b{side}")(x, image, ws[:, start : start + count], noise_mode, self.dtype)
            start += count - 1
        assert image is not None
        return image


class Backbone(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, settings: Network, c_dim: int = 111) -> None:
        super().__init__()
        self.synthesis = SynthesisNetwork(settings, settings.plane_resolution, 3 * settings.plane_channels)
        self.c_dim = 0 if settings.departures.plain_mapping else c_dim
        self.mapping = MappingNetwork(
            settings.z_dim, self.c_dim, settings.w_dim, settings.mapping_layers, self.synthesis.num_ws
        )
