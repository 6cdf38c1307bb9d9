"""Sliced Wasserstein distance between the small patches of pictures (Karras et al. 2018, section 5; Rabin et al. 2012).

It needs no network: patches of 7×7 pixels from each level of a Laplacian pyramid are compared along random directions.
The coarsest level shows large shapes and colours, the finest texture and noise.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

import cv2
import numpy as np

PATCH = 7
SMALLEST = 16  # side of the coarsest level
DIRECTIONS = 512
SCALE = 1000.0  # the distance is given in thousandths, as in the paper


class PatchExtractor:
    """Callable: uint8 RGB images of one size to patches of every pyramid level."""

    name = "patches"

    def __init__(self, number: int) -> None:
        """`number` of patches from each level of each image."""
        self.number = number
        self.sha256 = f"patches {PATCH} {SMALLEST} {number}"

    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """uint8 [H,W,3] to float16 [n,levels,number,147]; no levels where the images are smaller than 16 pixels.

        Where the patches lie depends on the image alone, not on its place in the order.
        """
        rows = [self._patches(image) for image in images]
        return np.stack(rows) if rows else np.zeros((0, 0, self.number, PATCH * PATCH * 3), np.float16)

    def _patches(self, image: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(zlib.crc32(np.ascontiguousarray(image).tobytes()))
        patches = []
        for level in laplacian_pyramid(image):
            windows = np.lib.stride_tricks.sliding_window_view(level, (PATCH, PATCH), axis=(0, 1))  # [h,w,3,7,7]
            rows, columns = (random.integers(n, size=self.number) for n in windows.shape[:2])
            patches.append(windows[rows, columns].reshape(self.number, -1))
        return np.array(patches, np.float16).reshape(len(patches), self.number, PATCH * PATCH * 3)


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Laplacian pyramid (Burt and Adelson 1983), finest first: differences between levels, the last as it is. float32."""
    levels: list[np.ndarray] = []
    current: np.ndarray = image.astype(np.float32)
    while min(current.shape[:2]) >= 2 * SMALLEST:
        smaller = cv2.pyrDown(current)
        levels.append(current - cv2.pyrUp(smaller, dstsize=(current.shape[1], current.shape[0])))
        current = smaller
    return [*levels, current] if min(current.shape[:2]) >= SMALLEST else []


def sliced_wasserstein(x: np.ndarray, y: np.ndarray, seed: int = 0) -> float:
    """Mean over random directions of the Wasserstein-1 distance between patches x [n,D], y [m,D], in thousandths.

    Both are first brought to mean 0 and deviation 1 in each colour channel, so that texture counts and not colour.
    """
    random = np.random.default_rng(seed)
    a, b = normalize_channels(x), normalize_channels(y)
    size = min(len(a), len(b))
    a, b = (v if len(v) == size else v[random.permutation(len(v))[:size]] for v in (a, b))
    directions = random.standard_normal((a.shape[1], DIRECTIONS)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=0)
    return SCALE * float(
        np.abs(np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)).mean(dtype=np.float64)
    )


def normalize_channels(patches: np.ndarray) -> np.ndarray:
    """[n,147], colour channels first, to float32 of mean 0 and deviation 1 over all patches, channel by channel."""
    channels = patches.astype(np.float32).reshape(len(patches), 3, -1)
    mean = channels.mean((0, 2), keepdims=True, dtype=np.float64)
    deviation = channels.std((0, 2), keepdims=True, dtype=np.float64)
    return ((channels - mean) / np.maximum(deviation, 1e-8)).astype(np.float32).reshape(len(patches), -1)


def sliced_wasserstein_by_level(x: np.ndarray, y: np.ndarray, seed: int = 0) -> list[float]:
    """Distances of the pyramid's levels, finest first: patches [n,levels,number,147] of both sets."""
    return [
        sliced_wasserstein(x[:, k].reshape(-1, x.shape[-1]), y[:, k].reshape(-1, y.shape[-1]), seed)
        for k in range(x.shape[1])
    ]
