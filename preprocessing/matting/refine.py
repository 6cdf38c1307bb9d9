"""From the network's coarse mask to a matte: edges of the photograph, one person, solid inside.

Edges by the guided filter: K. He, J. Sun, X. Tang, "Guided image filtering", TPAMI 2013, eq. 19 to 21 (colour guide).
"""

from __future__ import annotations

import cv2
import numpy as np

from ag3d.preprocessing.people.rotated_box import RotatedBox

WORKING_SIDE = 768  # pixels of the person's region in which edges are sought
RADIUS = 2.0  # of the filter's window, in pixels of the network's mask
EPSILON = 3e-4  # variance of colour below which there is no edge
LOW, HIGH = 0.15, 0.8  # alpha is stretched between these


def refine(rgb: np.ndarray, mask: np.ndarray, region: RotatedBox) -> np.ndarray:
    """uint8 [H,W] alpha for `rgb` (uint8 [H,W,3]) from the probability `mask` (float32 [n,n]) in `region`."""
    height, width = rgb.shape[:2]
    x0, x1 = (int(np.clip(region.x + s * region.reach, 0, width)) for s in (-1, 1))
    y0, y1 = (int(np.clip(region.y + s * region.reach, 0, height)) for s in (-1, 1))
    alpha = np.zeros((height, width), np.uint8)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return alpha
    step = max(1.0, region.side / WORKING_SIDE)
    size = (max(2, round((x1 - x0) / step)), max(2, round((y1 - y0) / step)))
    guide = cv2.resize(rgb[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    x, y = (region.x - x0) * size[0] / (x1 - x0), (region.y - y0) * size[1] / (y1 - y0)
    local = RotatedBox(x, y, region.side * size[0] / (x1 - x0), region.angle)
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
    person = np.zeros_like(alpha)
    if len(rows):
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        framed = cv2.copyMakeBorder(alpha[part], 1, 1, 1, 1, cv2.BORDER_CONSTANT)  # so that all outside hangs together
        person[part] = _keep_components(framed, landmarks - (columns[0] - 1, rows[0] - 1))[1:-1, 1:-1]
    return person


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


def _fill_pinholes(alpha: np.ndarray, max_area: float) -> np.ndarray:
    _, labels, stats, _ = cv2.connectedComponentsWithStats((alpha <= 127).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= max_area
    small[0] = False
    return np.where(small[labels], 255, alpha).astype(np.uint8) if small.any() else alpha


def share_inside(alpha: np.ndarray, landmarks: np.ndarray, slack: float) -> float:
    """Share of `landmarks` [n,2] (pixels) that lie on the person, or within `slack` pixels of them."""
    if not len(landmarks):
        return 0.0
    solid = (alpha > 127).astype(np.uint8)
    hits = 0
    for x, y in landmarks:
        x0, y0 = max(0, int(x - slack)), max(0, int(y - slack))
        hits += bool(solid[y0 : int(y + slack) + 1, x0 : int(x + slack) + 1].any())
    return hits / len(landmarks)


def guided_filter(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """`guide` float32 [H,W,3] in [0,1], `values` float32 [H,W]; windows of 2 radius + 1 pixels. Returns float32 [H,W].

    Where the guide is flat (variance below `epsilon`) values are averaged; across its edges they jump with it.
    """
    slope, offset = _linear_model(guide, values, radius, epsilon)
    return (slope * guide).sum(axis=2) + offset


def _linear_model(guide: np.ndarray, values: np.ndarray, radius: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """slope [H,W,3] and offset [H,W] with values ≈ slope · guide + offset around each pixel."""

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(x, -1, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT)

    colour, level = mean(guide), mean(values)
    with_values = mean(guide * values[..., None]) - colour * level[..., None]
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    rr, rg, rb, gg, gb, bb = (
        mean(guide[..., i] * guide[..., j]) - colour[..., i] * colour[..., j] + (epsilon if i == j else 0.0)
        for i, j in pairs
    )
    # inverse of the symmetric 3x3 covariance by cofactors
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = rr * c00 + rg * c01 + rb * c02
    r, g, b = (with_values[..., k] for k in range(3))
    slope = np.stack([c00 * r + c01 * g + c02 * b, c01 * r + c11 * g + c12 * b, c02 * r + c12 * g + c22 * b], axis=2)
    slope /= determinant[..., None]
    offset = level - (slope * colour).sum(axis=2)
    return mean(slope), mean(offset)
