"""People to measure with. Imports nothing that the oldest commit that is measured lacks."""

from __future__ import annotations

import torch

from ag3d.model.body import label as labels


def standing(number: int) -> torch.Tensor:
    """Labels [number,111] of people who stand with their arms at various heights, seen from all sides."""
    g = torch.Generator().manual_seed(0)
    orient = torch.zeros(number, 3)
    orient[:, 0] = torch.pi
    pose = 0.1 * torch.randn(number, 69, generator=g)
    pose[:, 47], pose[:, 50] = -1.0, 1.0  # arms down
    transl = torch.tensor([[0.0, 0.15, 0.0]]).expand(number, 3)
    return labels.pack(transl, orient, pose, torch.randn(number, 10, generator=g))
