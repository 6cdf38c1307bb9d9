"""A TorchScript file with the inner names and shapes of inception-2015-12-05.pt, and random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn


class Layers(nn.Module):
    """299×299 pixels in -1 … 1 to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 7, stride=4)
        self.second = nn.Conv2d(16, 2048, 3, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(4 * self.first(x))).relu().mean((2, 3))


class StandIn(nn.Module):
    """Resizes by itself, like the TensorFlow network, and has a classifier that nobody asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        x = nn.functional.interpolate(x.to(torch.float32), [299, 299], mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128)
        return features if return_features else features[:, :10]


class Writer(nn.Module):
    """A program that writes a file."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        torch.save(x, "written.bin")  # type: ignore[arg-type]
        return x


class Narrow(nn.Module):
    """Some other image network."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return x.mean((2, 3))


def save(module: nn.Module, folder: Path) -> Path:
    """Write the module as folder/inception-2015-12-05.pt."""
    torch.manual_seed(0)
    path = folder / "inception-2015-12-05.pt"
    torch.jit.script(module.eval()).save(str(path))
    return path
