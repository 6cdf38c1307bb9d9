"""What the distances are computed on: image, normal map and face crop, on white."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

STREAMS = ("image", "normal", "face")


@dataclass
class Pictures:
    """A batch: RGB, uint8; normal maps may be float32 in 0 … 255."""

    image: list[np.ndarray]  # [R,R,3]
    normal: list[np.ndarray]  # [r,r,3]
    face: list[np.ndarray]  # [f,f,3]

    def streams(self) -> dict[str, list[np.ndarray]]:
        return {name: getattr(self, name) for name in STREAMS}


def to_bytes(images: torch.Tensor, truncated: bool = False) -> list[np.ndarray]:
    """[B,3,H,W] in [-1,1] to uint8 RGB, rounded or `truncated`."""
    levels = (images.detach().float().cpu() + 1) * 127.5
    pixels = (levels if truncated else levels.round()).clamp(0, 255).to(torch.uint8)
    return channels_last(pixels)


def to_floats(images: torch.Tensor) -> list[np.ndarray]:
    """[B,3,H,W] in [-1,1] to float32 RGB in 0 … 255."""
    return channels_last((images.detach().float().cpu() + 1) * 127.5)


def to_tensor(images: list[np.ndarray]) -> torch.Tensor:
    """uint8 RGB of one size to [B,3,H,W] in [-1,1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def channels_last(images: torch.Tensor) -> list[np.ndarray]:
    return list(np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy()))
