"""Images to another resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def resize(images: torch.Tensor, resolution: int) -> torch.Tensor:
    """Antialiased bilinear resize of [B,C,H,W] to a square of side `resolution`."""
    if images.shape[-1] == resolution and images.shape[-2] == resolution:
        return images
    return F.interpolate(images, size=(resolution, resolution), mode="bilinear", align_corners=False, antialias=True)
