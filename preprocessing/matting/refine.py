"""From the network's coarse mask to a matte: edges of the photograph, one person, solid inside."""

from __future__ import annotations

import cv2
import numpy as np

from ag3d.preprocessing.matting.guided_filter import guided_filter
from ag3d.preprocessing.people.rotated_box import RotatedBox

WORKING_SIDE = 768  # pixels of the person's region in which edges are sought
RADIUS = 2.0  # of the filter's window, in pixels of the network's mask
EPSILON = 3e-4  # variance of colour below which there is no edge
LOW, HIGH = 0.15, 0.8  # alpha is stretched between these


def refine(rgb: np.ndarray, mask: np.ndarray, region: RotatedBox) -> np.ndarray:
    """uint8 [H,W] alpha for `rgb` (uint8 [H,W,3]) from the probability `mask` (float32 [n,n]) in `region`."""
    height, width = rgb.shape[:2]
    reach = region.side / 2 * (abs(np.cos(region.angle)) + abs(np.sin(region.angle)))
    x0, x1 = (int(np.clip(region.x + s * reach, 0, width)) for s in (-1, 1))
    y0, y1 = (int(np.clip(region.y + s * reach, 0, height)) for s in (-1, 1))
    alpha = np.zeros((height, width), np.uint8)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return alpha
    step = max(1.0, region.side / WORKING_SIDE)
    size = (max(2, round((x1 - x0) / step)), max(2, round((y1 - y0) / step)))
    guide = cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    local = RotatedBox((region.x - x0) * size[0] / (x1 - x0), (region.y - y0) * size[1] / (y1 - y0), 0, region.angle)
    local = RotatedBox(local.x, local.y, region.side * size[0] / (x1 - x0), region.angle)
    coarse = np.clip(local.paste(mask.astype(np.float32), (size[1], size[0]), cv2.INTER_CUBIC), 0, 1)
    radius = max(1, round(RADIUS * local.side / len(mask)))
    fine = guided_filter(guide, coarse, radius, EPSILON)
    fine = np.clip((fine - LOW) / (HIGH - LOW), 0, 1)
    whole = cv2.resize(fine, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    alpha[y0:y1, x0:x1] = np.rint(whole * 255)
    return alpha


def keep_person(alpha: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """`alpha` uint8 [H,W] without what does not belong to the person: the largest part stays, and every part that holds
    one of `landmarks` [n,2] (pixels). Pinholes are filled; gaps between arms and body are left."""
    rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
    kept = np.zeros_like(alpha)
    if len(rows):
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        framed = cv2.copyMakeBorder(alpha[part], 1, 1, 1, 1, cv2.BORDER_CONSTANT)  # so that all outside hangs together
        kept[part] = _keep_components(framed, landmarks - (columns[0] - 1, rows[0] - 1))[1:-1, 1:-1]
    return kept


def _keep_components(alpha: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    count, labels, stats, _ = cv2.connectedComponentsWithStats((alpha > 64).astype(np.uint8), connectivity=8)
    if count == 1:
        return alpha
    index = np.floor(landmarks).astype(int)
    index = index[(index >= 0).all(axis=1) & (index < (alpha.shape[1], alpha.shape[0])).all(axis=1)]
    keep = np.zeros(count, bool)
    keep[labels[index[:, 1], index[:, 0]]] = True
    keep[1 + stats[1:, cv2.CC_STAT_AREA].argmax()] = True
    keep[0] = False
    area = stats[keep, cv2.CC_STAT_AREA].sum()
    near = cv2.dilate(keep[labels].astype(np.uint8), np.ones((3, 3), np.uint8), iterations=2)
    return _fill_pinholes(alpha * near, 0.0005 * area)


def _fill_pinholes(alpha: np.ndarray, most: float) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha <= 127).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= most
    small[0] = False
    return np.where(small[labels], 255, alpha).astype(np.uint8) if small.any() else alpha


def inside(alpha: np.ndarray, landmarks: np.ndarray, slack: float) -> float:
    """Share of `landmarks` [n,2] (pixels) that lie on the person, or within `slack` pixels of them."""
    if not len(landmarks):
        return 0.0
    solid = (alpha > 127).astype(np.uint8)
    hits = 0
    for x, y in landmarks:
        x0, y0 = max(0, int(x - slack)), max(0, int(y - slack))
        hits += bool(solid[y0 : int(y + slack) + 1, x0 : int(x + slack) + 1].any())
    return hits / len(landmarks)
