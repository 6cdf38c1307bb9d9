"""The guided filter: smooth a mask so that its edges follow those of a colour image.

K. He, J. Sun, X. Tang, "Guided image filtering", TPAMI 2013, eq. 19 to 21 (colour guide).
"""

from __future__ import annotations

import cv2
import numpy as np


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
