"""Normals where the body gives none: cloth and hair that stand off it, up to the matte's outline.

Known are the body's normals away from its own outline, and at the matte's outline that the surface turns away from the
viewer. Between them a smooth surface is the best guess: values spread from fine to coarse and back (push-pull).
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

RELEASE = 1 / 20  # of the crop's side: so near to uncovered cloth the body's own outline is not believed
FACING = 0.4  # z of normals at the matte's outline


def inpaint_normals(normals: np.ndarray, covered: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Unit normals [H,W,3] on every pixel of `person` [H,W] from those of the body where `covered` [H,W]; zero elsewhere.

    Raises ValueError where the body covers no pixel of the person.
    """
    covered = covered & person
    if not covered.any():
        raise ValueError("the fitted body and the matte do not meet")
    cloth = person & ~covered
    release = max(1.5, RELEASE * len(person))
    trust = covered.astype(np.float32)
    if cloth.any():
        trust *= np.clip((ndimage.distance_transform_edt(~cloth) - 0.5) / release, 0, 1).astype(np.float32)
    rim = cloth & ~ndimage.binary_erosion(person, border_value=1)
    values = np.where(covered[..., None], normals, 0).astype(np.float32)
    values[rim] = outline_normals(person)[rim]
    trust[rim] = 0.7
    filled = unit(push_pull(values, trust))
    mixed = trust[..., None] * values + (1 - trust[..., None]) * filled
    mixed[..., 2] = np.maximum(mixed[..., 2], 0.02)  # what the camera sees faces it
    return np.where(person[..., None], unit(mixed), 0)


def outline_normals(person: np.ndarray) -> np.ndarray:
    """Unit normals [H,W,3] (x right, y up, z to the viewer) that point out of the mask's outline and nearly sideways."""
    soft = cv2.GaussianBlur(person.astype(np.float32), (0, 0), max(1.5, len(person) / 64))
    x, y = -cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)
    flat = unit(np.dstack([x, y])) * np.sqrt(1 - FACING**2)
    return np.dstack([flat, np.full(person.shape, FACING, np.float32)])


def push_pull(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spread `values` (float32 [H,W,C]) known with `weights` (float32 [H,W], 0 to 1) over the whole image."""
    if min(weights.shape) <= 2:
        total = weights.sum()
        mean = (values * weights[..., None]).sum((0, 1)) / max(total, 1e-6)
        return np.broadcast_to(mean, values.shape).astype(np.float32)
    size = ((weights.shape[1] + 1) // 2, (weights.shape[0] + 1) // 2)
    share = cv2.resize(weights, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(values * weights[..., None], size, interpolation=cv2.INTER_AREA)
    small /= np.maximum(share, 1e-6)[..., None]
    coarse = push_pull(small, np.minimum(4 * share, 1))
    smooth = cv2.resize(coarse, weights.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return weights[..., None] * values + (1 - weights[..., None]) * smooth


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-8)
