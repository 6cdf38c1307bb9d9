"""Two measures of a crop: how sharp the person is, and a fingerprint by which copies are found."""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 256  # pixels at which sharpness is measured, whatever the crop's
REACH = 7  # pixels over which differences are blurred away
BITS = 256


def sharpness(crop: np.ndarray) -> float:
    """What share of the differences between neighbouring pixels a blur would take away, inside the person of `crop`
    (uint8 RGBA): some 0.5 to 0.8 in sharp pictures of whatever content, below 0.25 where details of 2 cm are blurred.

    The idea of Crété et al., "The blur effect", 2007, kept inside the matte, whose edges say nothing about the lens.
    """
    crop = _resized(crop, SIDE)
    grey = cv2.cvtColor(np.ascontiguousarray(crop[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.erode((crop[..., 3] > 250).astype(np.uint8), np.ones((REACH + 2, REACH + 2))) > 0
    lost = total = 0.0
    for axis, window, where in ((0, (1, REACH), inside[1:]), (1, (REACH, 1), inside[:, 1:])):
        here, blurred = (np.abs(np.diff(image, axis=axis))[where] for image in (grey, cv2.blur(grey, window)))
        lost += float(np.maximum(0, here - blurred).sum())
        total += float(here.sum())
    return lost / total if total else 1.0  # a flat picture has nothing to blur


def fingerprint(crop: np.ndarray) -> str:
    """64 hexadecimal digits: the signs of the picture's coarse waves (a perceptual hash). Of copies that were encoded
    again, scaled or cut, some 10 of its 256 bits differ; of different people 32 and more."""
    share = crop[..., 3:].astype(np.float32) / 255
    white = np.rint(crop[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    grey = _resized(cv2.cvtColor(white, cv2.COLOR_RGB2GRAY), 64).astype(np.float32)
    waves = cv2.dct(grey)[:16, :16].ravel()
    waves[0] = np.median(waves[1:])  # the brightness says nothing
    return np.packbits(waves > np.median(waves[1:])).tobytes().hex()


def bits(fingerprints: list[str]) -> np.ndarray:
    """uint64 [N,4] of N fingerprints."""
    return np.frombuffer(bytes.fromhex("".join(fingerprints)), np.uint64).reshape(-1, BITS // 64)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    if len(image) == side:
        return image
    flags = cv2.INTER_AREA if len(image) > side else cv2.INTER_LINEAR
    return cv2.resize(image, (side, side), interpolation=flags)
