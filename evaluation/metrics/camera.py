"""Cameras of labels: from points to pixels, and from pixels to what lies there."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ag3d.model.body import label as labels
from ag3d.model.rendering.rays import rays


def project(points: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """World points [B,N,3] seen by the labels' cameras: places [B,N,2] in units of the image's side, and distances [B,N]."""
    parts = labels.split(label)
    away = points - parts.cam2world[:, None, :3, 3]
    local = away @ parts.cam2world[:, :3, :3]
    flat = (local / local[..., 2:]) @ parts.intrinsics.transpose(1, 2)
    return flat[..., :2], away.norm(dim=-1)


def lift(depth: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """World points [B,r·r,3] at the depths along the rays [B,1,r,r], row by row."""
    parts = labels.split(label)
    origins, directions = rays(parts.cam2world, parts.intrinsics, depth.shape[-1])
    return origins + directions * depth.flatten(1)[..., None]


def look_up(images: torch.Tensor, places: torch.Tensor, nearest: bool = False) -> torch.Tensor:
    """Values [B,N,C] of images [B,C,H,W] at places [B,N,2] in units of the side (pixel centres at (k + 0.5) / side)."""
    grid = (places * 2 - 1)[:, None]
    mode = "nearest" if nearest else "bilinear"
    found = F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    return found[:, :, 0].transpose(1, 2)
