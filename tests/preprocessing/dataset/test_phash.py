"""Sharpness falls with blur whatever the size of the crop; fingerprints are near for copies and far for others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ag3d.preprocessing.dataset.dedup import BITS, bits, phash, sharpness


def person(seed: int, side: int = 256) -> np.ndarray:
    """A crop of an ellipse with a texture of its own, uint8 RGBA."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    inside = (x / rng.uniform(0.3, 0.6)) ** 2 + (y / rng.uniform(0.7, 0.9)) ** 2 < 1
    coarse = cv2.resize(rng.uniform(0, 200, (6, 6, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.normal(0, 40, (256, 256, 1)), (side, side))[..., None]
    colour = np.where(inside[..., None], coarse + fine, 255).clip(0, 255)
    return np.dstack([colour, inside * 255]).astype(np.uint8)


def blurred(crop: np.ndarray, sigma: float) -> np.ndarray:
    return np.dstack([cv2.GaussianBlur(crop[..., :3], (0, 0), sigma), crop[..., 3]])


@pytest.mark.parametrize("side", [128, 256, 512])
def test_blur_takes_sharpness_away(side: int) -> None:
    crop = person(1, side)
    values = [sharpness(crop)] + [sharpness(blurred(crop, s * side / 256)) for s in (1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.22 < values[0]


def test_the_outline_says_nothing() -> None:
    """A blurred person behind a sharp matte is blurred."""
    crop = blurred(person(2), 4)
    crop[crop[..., 3] == 0, :3] = 255
    assert sharpness(crop) < 0.22
    flat = np.full((64, 64, 4), 255, np.uint8)
    assert sharpness(flat) == 1.0


def test_fingerprints_of_copies_are_near_and_of_others_far() -> None:
    crop = person(3)
    ok, data = cv2.imencode(".jpg", crop[..., :3], [cv2.IMWRITE_JPEG_QUALITY, 40])
    assert ok
    copies = [
        np.dstack([cv2.imdecode(data, cv2.IMREAD_COLOR), crop[..., 3]]),
        cv2.resize(crop, (150, 150), interpolation=cv2.INTER_AREA),
        np.dstack([(crop[..., :3] * 0.9).astype(np.uint8), crop[..., 3]]),
    ]
    prints = bits([phash(c) for c in (crop, *copies, *(person(seed) for seed in range(4, 10)))])
    apart = np.bitwise_count(prints ^ prints[0]).sum(axis=1)
    assert prints.shape == (10, BITS // 64)
    assert apart[0] == 0
    assert apart[1:4].max() <= 16 < 30 < apart[4:].min()
