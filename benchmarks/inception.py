"""A network of Inception v3's shape (Szegedy et al. 2016) with random weights: it takes as long as the real one, and no more.

For timing a metric pass where inception-2015-12-05.pt is not at hand. Its features mean nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


class Conv(nn.Sequential):
    """Convolution, normalisation, ReLU; `size` is height × width, without padding where `padded` is false."""

    def __init__(
        self, inner: int, outer: int, size: tuple[int, int] = (1, 1), stride: int = 1, padded: bool = True
    ) -> None:
        padding = (size[0] // 2, size[1] // 2) if padded else (0, 0)
        super().__init__(nn.Conv2d(inner, outer, size, stride, padding, bias=False), nn.BatchNorm2d(outer), nn.ReLU())


class Branches(nn.Module):
    """Several ways side by side, their channels one after another."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([way(x) for way in self.ways], 1)


def _narrow(inner: int, pooled: int) -> Branches:
    """35 × 35."""
    return Branches(
        Conv(inner, 64),
        nn.Sequential(Conv(inner, 48), Conv(48, 64, (5, 5))),
        nn.Sequential(Conv(inner, 64), Conv(64, 96, (3, 3)), Conv(96, 96, (3, 3))),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(inner, pooled)),
    )


def _middle(c: int) -> Branches:
    """17 × 17, 768 channels; 7 × 7 in two steps."""
    row, column = (1, 7), (7, 1)
    return Branches(
        Conv(768, 192),
        nn.Sequential(Conv(768, c), Conv(c, c, row), Conv(c, 192, column)),
        nn.Sequential(Conv(768, c), Conv(c, c, column), Conv(c, c, row), Conv(c, c, column), Conv(c, 192, row)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(768, 192)),
    )


def _wide(inner: int) -> Branches:
    """8 × 8."""
    split = [Branches(Conv(384, 384, (1, 3)), Conv(384, 384, (3, 1))) for _ in range(2)]
    return Branches(
        Conv(inner, 320),
        nn.Sequential(Conv(inner, 384), split[0]),
        nn.Sequential(Conv(inner, 448), Conv(448, 384, (3, 3)), split[1]),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(inner, 192)),
    )


def layers() -> nn.Sequential:
    """[B,3,299,299] to [B,2048]."""
    three = (3, 3)
    half = Branches(
        Conv(288, 384, three, 2, False),
        nn.Sequential(Conv(288, 64), Conv(64, 96, three), Conv(96, 96, three, 2, False)),
        nn.MaxPool2d(3, 2),
    )
    quarter = Branches(
        nn.Sequential(Conv(768, 192), Conv(192, 320, three, 2, False)),
        nn.Sequential(Conv(768, 192), Conv(192, 192, (1, 7)), Conv(192, 192, (7, 1)), Conv(192, 192, three, 2, False)),
        nn.MaxPool2d(3, 2),
    )
    return nn.Sequential(
        *(Conv(3, 32, three, 2, False), Conv(32, 32, three, 1, False), Conv(32, 64, three), nn.MaxPool2d(3, 2)),
        *(Conv(64, 80), Conv(80, 192, three, 1, False), nn.MaxPool2d(3, 2)),
        *(_narrow(192, 32), _narrow(256, 64), _narrow(288, 64), half),
        *(_middle(128), _middle(160), _middle(160), _middle(192), quarter),
        *(_wide(1280), _wide(2048), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


class Inception(nn.Module):
    """Resizes by itself, as the file's network does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = layers()

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        x = nn.functional.interpolate(x.to(torch.float32), [299, 299], mode="bilinear", align_corners=False)
        return self.layers((x - 128) / 128)


def save(path: Path) -> Path:
    """Write the network as a TorchScript file with the inner names of the real one."""
    torch.manual_seed(0)
    torch.jit.script(Inception().eval()).save(str(path))
    return path
