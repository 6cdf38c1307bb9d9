"""Images at another size, without aliasing."""

from __future__ import annotations

import cv2
import numpy as np


def resize(image: np.ndarray, size: tuple[int, int], enlarge: int = cv2.INTER_LINEAR) -> np.ndarray:
    """`image` [H,W] or [H,W,C] at `size` (width, height): area averages where it becomes narrower, else by `enlarge`. The
    same array where it has that size already."""
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < image.shape[1] else enlarge)
