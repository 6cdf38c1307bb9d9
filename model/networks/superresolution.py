"""Super-resolution of the rendered features: two blocks, the second doubles the resolution."""

from __future__ import annotations

import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.networks.stylegan2_layers import SynthesisLayer, ToRGBLayer
from ag3d.model.ops.resize import resize
from ag3d.model.ops.upfirdn2d import upsample2d


class SuperResolutionBlock(nn.Module):
    def __init__(
        self, in_channels: int, out_channels: int, w_dim: int, resolution: int, up: bool, clamp: float
    ) -> None:
        super().__init__()
        self.conv0 = SynthesisLayer(in_channels, out_channels, w_dim, resolution, up=up, clamp=clamp)
        self.conv1 = SynthesisLayer(out_channels, out_channels, w_dim, resolution, clamp=clamp)
        self.torgb = ToRGBLayer(out_channels, 3, w_dim, clamp=clamp)
        self.up = up

    def forward(self, x: torch.Tensor, image: torch.Tensor, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.conv1(self.conv0(x, w, "none"), w, "none")
        return x, (upsample2d(image) if self.up else image) + self.torgb(x, w)


class SuperResolution(nn.Module):
    """features [B,C,r,r] and their colours [B,3,r,r] to an image of twice `resolution`; every layer has the last code.

    The convolutions compute in `dtype`; the image is float32.
    """

    def __init__(self, settings: Network, resolution: int) -> None:
        super().__init__()
        wide, narrow = settings.sr_channels, settings.sr_channels // 2
        self.block0 = SuperResolutionBlock(
            settings.plane_channels, wide, settings.w_dim, resolution, up=False, clamp=settings.conv_clamp
        )
        self.block1 = SuperResolutionBlock(
            wide, narrow, settings.w_dim, 2 * resolution, up=True, clamp=settings.conv_clamp
        )
        self.resolution = resolution
        self.dtype = torch.float32

    def forward(self, image: torch.Tensor, features: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
        w = ws[:, -1]
        x = resize(features, self.resolution).to(self.dtype, memory_format=torch.channels_last)
        x, image = self.block0(x, resize(image, self.resolution), w)
        return self.block1(x, image, w)[1]
