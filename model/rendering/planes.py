"""Tri-planes: bilinear look-up of features at canonical points, with their derivatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Which of the point's coordinates run along the width and the height of each plane.
AXES = ((0, 1), (0, 2), (2, 1))


def features(
    planes: torch.Tensor, points: torch.Tensor, image: torch.Tensor, derivative: bool = True
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Mean features of the three planes, and their derivatives by the point.

    planes: [B,3,C,P,P]; points: [n,3], in [-1,1] over the planes; image: [n], whose planes. Outside counts as zero.
    Returns [n,C] and (if asked) [n,3,C]; both differentiable by the planes.
    """
    channels, side = planes.shape[2], planes.shape[3]
    table = planes.permute(0, 1, 3, 4, 2).reshape(-1, channels)
    index, mix = _stencil(points, image, side, 3 if derivative else 0)
    gathered = F.embedding(index, table)  # [n,12,C]
    out = torch.bmm(mix, gathered)
    return out[:, 0], out[:, 1:] if derivative else None


def _stencil(
    points: torch.Tensor, image: torch.Tensor, side: int, derivatives: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of the table [n,12] and how to mix them [n,1+derivatives,12]: three planes of four texels."""
    count = len(points)
    index = torch.empty(count, 12, dtype=torch.long, device=points.device)
    mix = torch.zeros(count, 1 + derivatives, 12, dtype=points.dtype, device=points.device)
    for plane, (across, down) in enumerate(AXES):
        x = ((points[:, across] + 1) * side - 1) / 2
        y = ((points[:, down] + 1) * side - 1) / 2
        x0, y0 = x.floor(), y.floor()
        fx, fy = x - x0, y - y0
        for corner in range(4):
            right, below = corner & 1, corner >> 1
            cx, cy = x0 + right, y0 + below
            inside = ((cx >= 0) & (cx < side) & (cy >= 0) & (cy < side)).to(points.dtype) / 3
            wx, wy = (fx if right else 1 - fx), (fy if below else 1 - fy)
            slot = 4 * plane + corner
            row = (image * 3 + plane) * side * side
            index[:, slot] = row + cy.long().clamp(0, side - 1) * side + cx.long().clamp(0, side - 1)
            mix[:, 0, slot] = wx * wy * inside
            if derivatives:
                mix[:, 1 + across, slot] += (1.0 if right else -1.0) * wy * inside * (side / 2)
                mix[:, 1 + down, slot] += (1.0 if below else -1.0) * wx * inside * (side / 2)
    return index, mix
