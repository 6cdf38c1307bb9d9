"""How well a fit matches what was seen, and whether it is good enough to go on."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ag3d.config.data import Fitting
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.preprocessing.fitting.crop_frame import Frame

RASTER = 128  # side of the silhouettes compared
GUARD = 4  # rows between people drawn at once
AT_ONCE, AT_ONCE_GPU = 8, 128  # people drawn at once: their triangles are in memory together


def reprojection(pixels: Tensor, landmarks: Tensor, weights: Tensor) -> Tensor:
    """Mean distance (pixels) of projected to seen landmarks [B,33,2], weighted by `weights` [B,33]: [B]; NaN for who has
    no weight at all."""
    return (weights * (pixels - landmarks).norm(dim=2)).sum(1) / weights.sum(1)


def silhouettes(frame: Frame, faces: Tensor) -> np.ndarray:
    """Whether each pixel of each person's window shows the body: bool [B,RASTER,RASTER].

    Several people are drawn at once, one below the other, with a few rows between them for what leaves the window.
    """
    screen = (frame.vertices[..., :2] * 0.5 + 0.5) * RASTER
    screen = torch.stack([screen[..., 0], screen[..., 1].clamp(-GUARD / 2, RASTER + GUARD / 2) + GUARD], dim=2)
    screen = torch.cat([screen, frame.vertices[..., 2:]], dim=2)
    step, pitch, found = AT_ONCE_GPU if screen.is_cuda else AT_ONCE, RASTER + GUARD, []
    for some in screen.split(step):
        number = torch.arange(len(some), device=some.device)
        below = some + number[:, None, None] * torch.tensor([0, pitch, 0], device=some.device)
        every = (faces + number[:, None, None] * some.shape[1]).flatten(0, 1)
        raster = rasterize(below.flatten(0, 1), every, len(some) * pitch + GUARD, RASTER)
        hit = (raster.face_index >= 0)[: len(some) * pitch].view(len(some), pitch, RASTER)
        found.append(hit[:, GUARD:].cpu())
    return torch.cat(found).numpy()


def silhouette_iou(
    body: np.ndarray, centre: np.ndarray, half: float, matte: np.ndarray, size: tuple[float, float]
) -> float:
    """Intersection over union of the body's silhouette (of the window, about `centre` with half side `half`, pixels) and
    the matte (bool [h,w], of a photograph of `size` width, height) within the window and the photograph."""
    ratio = np.array([matte.shape[1] / size[0], matte.shape[0] / size[1]])
    step = 2 * half / RASTER
    start = (centre - half + step / 2) * ratio - 0.5
    to_matte = np.array([[step * ratio[0], 0, start[0]], [0, step * ratio[1], start[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(matte.astype(np.float32), to_matte, (RASTER, RASTER), flags=flags) >= 0.5
    inside = cv2.warpAffine(np.ones(matte.shape, np.float32), to_matte, (RASTER, RASTER), flags=flags) >= 0.5
    shown = body & inside
    union = (shown | seen).sum()
    return float((shown & seen).sum() / union) if union else 0.0


def cut_off(pixels: Tensor, size: Tensor) -> Tensor:
    """Share of the surface samples [B,S,2] (pixels) that lies outside photographs of `size` [B,2] (width, height)."""
    return ((pixels < 0) | (pixels > size[:, None])).any(2).float().mean(1)


def verdict(
    settings: Fitting, reprojection: float, iou: float, cut: float, reach: float
) -> tuple[str, str, float | None]:
    """status, reason and measured value of a fit."""
    checks = (
        (not np.isfinite(reprojection), "no landmarks to fit to", reprojection),
        (cut > settings.max_out_of_frame, "cut off by the edge of the photograph (share of the body outside)", cut),
        (reach > 1, "does not fit into the frame (largest |x|, |y|; the frame ends at 1)", reach),
        (
            not reprojection <= settings.max_reprojection,
            "fit does not match the landmarks (error / body height)",
            reprojection,
        ),
        (not iou >= settings.min_silhouette_iou, "fit does not match the matte (intersection over union)", iou),
    )
    for failed, reason, value in checks:
        if failed:
            return "rejected", reason, float(value) if np.isfinite(value) else None
    return "ok", "", None
