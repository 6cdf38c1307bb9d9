"""A turned square of a photograph: what a network sees, and the way back to the photograph's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class RotatedBox:
    """Centre (x, y), side (pixels) and angle (radians, clockwise) of a square. Pixel centres lie at k + 0.5."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def _axes(self) -> np.ndarray:
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.array([[c, -s], [s, c]])

    @property
    def reach(self) -> float:
        """Half the side of the upright square around it (pixels)."""
        return self.side / 2 * (abs(np.cos(self.angle)) + abs(np.sin(self.angle)))

    def rotate_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Directions [n,2] of the square as directions of the photograph."""
        return vectors @ self._axes().T

    def to_photo(self, points: np.ndarray, resolution: int) -> np.ndarray:
        """Points [n,2] of the square, drawn with `resolution` pixels a side, as points of the photograph."""
        return (points - resolution / 2) * (self.side / resolution) @ self._axes().T + (self.x, self.y)

    def from_photo(self, points: np.ndarray, resolution: int) -> np.ndarray:
        """The inverse of `to_photo`."""
        return (points - np.array([self.x, self.y])) @ self._axes() * (resolution / self.side) + resolution / 2

    def affine(self, resolution: int) -> np.ndarray:
        """[2,3]: pixel indices of the square to pixel indices of the photograph, for cv2.warpAffine."""
        linear = self._axes() * (self.side / resolution)
        offset = self.to_photo(np.array([[0.5, 0.5]]), resolution)[0] - 0.5
        return np.column_stack([linear, offset])

    def warp(self, image: np.ndarray, resolution: int, border: int = 0) -> np.ndarray:
        """The square of `image` ([H,W] or [H,W,C]) at `resolution`. Large squares are averaged, not sampled."""
        image, x0, y0 = self._surroundings(image)
        reduction = max(1, int(self.side / resolution))
        if reduction > 1:
            size = (-(-image.shape[1] // reduction), -(-image.shape[0] // reduction))
            pad = (size[1] * reduction - image.shape[0], size[0] * reduction - image.shape[1])
            image = cv2.copyMakeBorder(image, 0, pad[0], 0, pad[1], cv2.BORDER_REPLICATE)
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        smaller = RotatedBox((self.x - x0) / reduction, (self.y - y0) / reduction, self.side / reduction, self.angle)
        return cv2.warpAffine(
            image,
            smaller.affine(resolution),
            (resolution, resolution),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(border,) * 4,
        )

    def paste(self, values: np.ndarray, shape: tuple[int, int], interpolation: int = cv2.INTER_LINEAR) -> np.ndarray:
        """Values [n,n] of the square in a photograph of `shape` (height, width); 0 outside the square."""
        return cv2.warpAffine(values, self.affine(values.shape[0]), (shape[1], shape[0]), flags=interpolation)

    def _surroundings(self, image: np.ndarray) -> tuple[np.ndarray, int, int]:
        """The part of `image` that the square touches, and its upper left corner."""
        height, width = image.shape[:2]
        reach = self.reach + 2
        x0, y0 = int(np.clip(self.x - reach, 0, width - 1)), int(np.clip(self.y - reach, 0, height - 1))
        x1, y1 = int(np.clip(self.x + reach, x0 + 1, width)), int(np.clip(self.y + reach, y0 + 1, height))
        return image[y0:y1, x0:x1], x0, y0
