"""How well a fit matches what was seen, and whether it is good enough to go on."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ag3d.config.data import Fitting
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.preprocessing.fitting_frame import Frame

RASTER = 128  # side of the silhouettes compared


def reprojection(pixels: Tensor, landmarks: Tensor, weights: Tensor) -> Tensor:
    """Mean distance (pixels) of projected to seen landmarks [B,33,2], weighted by `weights` [B,33]: [B]; NaN for who has
    no weight at all."""
    return (weights * (pixels - landmarks).norm(dim=2)).sum(1) / weights.sum(1)


def silhouette_iou(frame: Frame, person: int, faces: Tensor, matte: np.ndarray, size: tuple[float, float]) -> float:
    """Intersection over union of the body's silhouette and the matte (bool [h,w], of a photograph of `size` width,
    height) within the window and the photograph."""
    vertices = frame.vertices[person]
    screen = torch.cat([(vertices[:, :2] * 0.5 + 0.5) * RASTER, vertices[:, 2:]], dim=1)
    body = (rasterize(screen, faces, RASTER, RASTER).face_index >= 0).cpu().numpy()
    centre, half = frame.centre[person].cpu().numpy(), float(frame.half[person])
    ratio = np.array([matte.shape[1] / size[0], matte.shape[0] / size[1]])
    step = 2 * half / RASTER
    start = (centre - half + step / 2) * ratio - 0.5
    to_matte = np.array([[step * ratio[0], 0, start[0]], [0, step * ratio[1], start[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(matte.astype(np.float32), to_matte, (RASTER, RASTER), flags=flags) >= 0.5
    inside = cv2.warpAffine(np.ones(matte.shape, np.float32), to_matte, (RASTER, RASTER), flags=flags) >= 0.5
    body &= inside
    union = (body | seen).sum()
    return float((body & seen).sum() / union) if union else 0.0


def cut_off(pixels: Tensor, size: Tensor) -> Tensor:
    """Share of the surface samples [B,S,2] (pixels) that lies outside photographs of `size` [B,2] (width, height)."""
    return ((pixels < 0) | (pixels > size[:, None])).any(2).float().mean(1)


def verdict(
    settings: Fitting, reprojection: float, iou: float, cut: float, reach: float
) -> tuple[str, str, float | None]:
    """status, reason and measured value of a fit."""
    checks = (
        (not np.isfinite(reprojection), "no landmarks to fit to", reprojection),
        (cut > settings.max_cut, "cut off by the edge of the photograph (share of the body outside)", cut),
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
