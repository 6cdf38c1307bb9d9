"""What the matte says about the body: it lies inside, and reaches the outline except where cloth and hair stand off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

GRID = 160  # side of the distance maps
CONTOUR = 192  # points of the outline
MARGIN = 0.15  # of the box, around it


@dataclass
class Silhouettes:
    """Mattes of B people, ready for the optimiser. Pixels are those of the photograph."""

    outside: Tensor  # [B,1,GRID,GRID] distance to the matte (pixels), 0 inside
    corner: Tensor  # [B,2] pixel of the map's upper left corner
    side: Tensor  # [B] its side (pixels)
    contour: Tensor  # [B,CONTOUR,2] points of the outline
    contour_weight: Tensor  # [B,CONTOUR] 0 where the outline is the edge of the photograph
    photo: Tensor  # [B,2] width and height of the photograph

    @staticmethod
    def stack(outlines: list[tuple[Any, ...]]) -> Silhouettes:
        return Silhouettes(
            *(torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*outlines, strict=True))
        )


def outline(mask: np.ndarray, size: np.ndarray) -> tuple[Any, ...]:
    """The values of Silhouettes for one person, of a mask (bool [h,w], the whole photograph at any scale) and the
    photograph's `size` (width, height)."""
    if not mask.any():
        mask = np.ones_like(mask)  # says nothing; the verdict is left to the comparison with the matte
    ratio = np.asarray(size, np.float64) / (mask.shape[1], mask.shape[0])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    low = np.array([columns[0], rows[0]]) * ratio
    high = (np.array([columns[-1], rows[-1]]) + 1) * ratio
    side = (high - low).max() * (1 + 2 * MARGIN)
    corner = (low + high) / 2 - side / 2
    step = side / GRID
    # pixel centres of the map, in the matte's own pixel indices
    to_matte = np.array(
        [
            [step / ratio[0], 0, (corner[0] + step / 2) / ratio[0] - 0.5],
            [0, step / ratio[1], (corner[1] + step / 2) / ratio[1] - 0.5],
        ]
    )
    small = cv2.warpAffine(
        mask.astype(np.float32), to_matte, (GRID, GRID), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    outside = cv2.distanceTransform((small < 0.5).astype(np.uint8), cv2.DIST_L2, 5) * step
    contour = _contour(small >= 0.5) * step + corner
    edge = 1.5 * step
    inner = (contour > edge).all(1) & (contour < np.asarray(size) - edge).all(1)
    return outside[None], corner, np.float64(side), contour, inner.astype(np.float64), np.asarray(size, np.float64)


def _contour(mask: np.ndarray) -> np.ndarray:
    """CONTOUR points spread evenly along the outlines of `mask`, in its pixels [CONTOUR,2]."""
    lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate([line[:, 0] for line in lines] or [np.zeros((1, 2))]).astype(np.float64) + 0.5
    return points[np.linspace(0, len(points) - 1, CONTOUR).round().astype(int)]


def outside(pixels: Tensor, maps: Silhouettes) -> Tensor:
    """Distance (pixels) of projected points [B,S,2] to the matte, 0 inside it and outside the photograph, [B,S]."""
    place = (pixels - maps.corner[:, None]) / maps.side[:, None, None] * 2 - 1
    safe = place.nan_to_num(2.0).clamp(-2, 2)  # grid_sample must never see what is not finite
    inside = grid_sample(maps.outside, safe[:, None], align_corners=False, padding_mode="border")[:, 0, 0]
    seen = ((pixels.detach() > 0) & (pixels.detach() < maps.photo[:, None])).all(2)
    beyond = (place.abs() - 1).clamp_min(0).norm(dim=2) * maps.side[:, None] / 2
    return (inside + beyond) * seen


def nearest(pixels: Tensor, maps: Silhouettes) -> Tensor:
    """Which projected point of the body [B,S,2] is nearest to each point of the outline: [B,CONTOUR]."""
    with torch.no_grad():  # squared distances, less what does not depend on the point
        return torch.baddbmm(pixels.square().sum(2)[:, None], maps.contour, pixels.mT, alpha=-2).min(2).indices


def to_outline(pixels: Tensor, chosen: Tensor, maps: Silhouettes) -> Tensor:
    """Distance (pixels) of each point of the outline to the `chosen` [B,CONTOUR] of projected points of the body [B,S,2]:
    [B,CONTOUR]."""
    points = torch.gather(pixels, 1, chosen[..., None].expand(-1, -1, 2))
    return (points - maps.contour).square().sum(2).add(1e-6).sqrt()
