"""From a fit in the photograph to the label's frame (scale 1, a square window of the photograph as world [-1,1]²), and how
well it matches what was seen there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from ag3d.config.data import Fitting
from ag3d.core.camera import CAMERA_DISTANCE, project
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.preprocessing.fitting.optimise import FitResult
from ag3d.preprocessing.stage import OK, Verdict

EDGE = 0.98  # the body is moved inside this part of the window, where it can be
RASTER = 128  # side of the silhouettes compared
GUARD = 4  # rows between people drawn at once
AT_ONCE, AT_ONCE_GPU = 8, 128  # people drawn at once: their triangles are in memory together


@dataclass
class CropFrame(TensorDataclass):
    """Windows of B people. World units are metres: `half` is also the number of pixels per metre."""

    centre: Tensor  # [B,2] pixels of the photograph
    half: Tensor  # [B] pixels
    transl: Tensor  # [B,3]
    vertices: Tensor  # [B,V,3] world
    joints: Tensor  # [B,24,3] world

    def reach(self) -> Tensor:
        """Largest |x| or |y| of the body in the image, [B]; above 1 it is cut off by the window."""
        on_image = project(self.vertices, torch.ones_like(self.half), torch.zeros_like(self.centre))
        return on_image.abs().amax((1, 2))


def crop_frame(body: Body, fit: FitResult) -> CropFrame:
    """Put the pelvis where that of an upright person in the middle of the image is, and no part outside where possible.

    With SMPL's rest pose that is transl = (0, 0.15, 0), as in the reference's labels. In depth the body lies around
    z = 0, since the network renders a slab about it.
    """
    transl = torch.zeros(len(fit.betas), 3, device=fit.betas.device)
    posed = body(fit.betas, fit.body_pose, fit.global_orient, transl)
    pelvis = posed.joints[:, 0]
    transl[:, 0] = -pelvis[:, 0]
    transl[:, 1] = pelvis_height(body) - pelvis[:, 1]
    transl[:, 2] = -posed.vertices[..., 2].mean(1)
    vertices = posed.vertices + transl[:, None]
    low, high = vertices[..., :2].amin(1), vertices[..., :2].amax(1)
    inward = (-EDGE - low).clamp_min(0) - (high - EDGE).clamp_min(0)
    middle = -(low + high) / 2
    inward = torch.where(high - low > 2 * EDGE, middle, inward)
    transl[:, :2] += inward
    vertices[..., :2] += inward[:, None]
    half = fit.scale * (1 + transl[:, 2] / CAMERA_DISTANCE)  # what moves away shrinks, a little
    centre = fit.origin - half[:, None] * transl[:, :2]
    return CropFrame(centre, half, transl, vertices, posed.joints + transl[:, None])


def pelvis_height(body: Body) -> float:
    """World y of the pelvis when the upright mean body is centred in the image (y down)."""
    y = body.v_template[:, 1]
    return float((y.max() + y.min()) / 2 - (body.J_regressor @ body.v_template)[0, 1])


def reprojection_error(pixels: Tensor, landmarks: Tensor, weights: Tensor) -> Tensor:
    """Mean distance (pixels) of projected to seen landmarks [B,33,2], weighted by `weights` [B,33]: [B]; NaN for who has
    no weight at all."""
    return (weights * (pixels - landmarks).norm(dim=2)).sum(1) / weights.sum(1)


def out_of_photo(pixels: Tensor, size: Tensor) -> Tensor:
    """Share of the surface samples [B,S,2] (pixels) that lies outside photographs of `size` [B,2] (width, height)."""
    return ((pixels < 0) | (pixels > size[:, None])).any(2).float().mean(1)


def body_masks(frame: CropFrame, faces: Tensor) -> np.ndarray:
    """Whether each pixel of each person's window shows the body: bool [B,RASTER,RASTER].

    Several people are drawn at once, one below the other, with a few rows between them for what leaves the window.
    """
    screen = (frame.vertices[..., :2] * 0.5 + 0.5) * RASTER
    screen = torch.stack([screen[..., 0], screen[..., 1].clamp(-GUARD / 2, RASTER + GUARD / 2) + GUARD], dim=2)
    screen = torch.cat([screen, frame.vertices[..., 2:]], dim=2)
    pitch, masks = RASTER + GUARD, []
    for people in screen.split(AT_ONCE_GPU if screen.is_cuda else AT_ONCE):
        number = torch.arange(len(people), device=people.device)[:, None, None]
        stacked = people + number * torch.tensor([0, pitch, 0], device=people.device)
        stacked_faces = (faces + number * people.shape[1]).flatten(0, 1)
        raster = rasterize(stacked.flatten(0, 1), stacked_faces, len(people) * pitch + GUARD, RASTER)
        hit = (raster.face_index >= 0)[: len(people) * pitch].view(len(people), pitch, RASTER)
        masks.append(hit[:, GUARD:].cpu())
    return torch.cat(masks).numpy()


def silhouette_iou(
    body: np.ndarray, centre: np.ndarray, half: float, matte: np.ndarray, size: tuple[float, float]
) -> float:
    """Intersection over union of the body's mask (of the window, about `centre` with half side `half`, pixels) and the
    matte (bool [h,w], of a photograph of `size` width, height) within the window and the photograph."""
    ratio = np.array([matte.shape[1] / size[0], matte.shape[0] / size[1]])
    step = 2 * half / RASTER
    start = (centre - half + step / 2) * ratio - 0.5
    to_matte = np.array([[step * ratio[0], 0, start[0]], [0, step * ratio[1], start[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    person, photo = (
        cv2.warpAffine(mask, to_matte, (RASTER, RASTER), flags=flags) >= 0.5
        for mask in (matte.astype(np.float32), np.ones(matte.shape, np.float32))
    )
    visible = body & photo
    union = (visible | person).sum()
    return float((visible & person).sum() / union) if union else 0.0


def check_fit(settings: Fitting, reprojection: float, iou: float, cut: float, reach: float) -> Verdict:
    """Whether a fit is good enough to go on."""
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
            return Verdict.rejected(reason, float(value) if np.isfinite(value) else None)
    return OK
