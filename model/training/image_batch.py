"""An entry of the data set as the networks see it: composited on white, at the network's resolution, unit normals."""

from __future__ import annotations

import cv2
import numpy as np

WHITE = 255
MIN_ALPHA = 0.3  # less is background in the normal map, as in AG3D


def compose(image: np.ndarray) -> np.ndarray:
    """Grey, RGB or RGBA uint8 to RGB uint8; RGBA is laid on white."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    if image.shape[2] == 3:
        return image
    composed = np.full((*image.shape[:2], 3), WHITE, np.uint8)
    window = window_of(image[..., 3] > 0)
    part = image[window]
    alpha = part[..., 3:].astype(np.float32) / 255
    composed[window] = part[..., :3] * alpha + WHITE * (1 - alpha)
    return composed


def window_of(mask: np.ndarray, step: int = 1) -> tuple[slice, slice]:
    """Rows and columns around all that is set in [H,W], at multiples of `step`: most of a picture is background."""
    found = []
    for axis, length in ((1, mask.shape[0]), (0, mask.shape[1])):
        places = np.flatnonzero(mask.any(axis=axis))
        first, last = (places[0], places[-1] + 1) if len(places) else (0, 0)
        found.append(slice(int(first) // step * step, min(-(-int(last) // step) * step, length)))
    return found[0], found[1]


def person_mask(normal: np.ndarray, image: np.ndarray) -> np.ndarray:
    """bool [H,W]: where the normal map shows the person. Exact white and low alpha are background."""
    mask = cv2.inRange(normal, (WHITE,) * 3, (WHITE,) * 3) == 0
    if image.ndim == 3 and image.shape[2] == 4:
        mask &= image[..., 3] >= MIN_ALPHA * 255
    return mask


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H,W] or [H,W,C] to `size` (height, width): area averages when it shrinks, bilinear when it grows."""
    if image.shape[:2] == size:
        return image
    shrinks = min(size) < max(image.shape[:2])
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def unit_normals(normal: np.ndarray, mask: np.ndarray, resolution: int) -> np.ndarray:
    """Normal map uint8 [H,W,3] with its mask to uint8 [R,R,3]: unit vectors on white.

    Vectors are averaged over the person alone and made unit again; pixels that the person covers in part are then
    blended with the white background, as volume rendering does.
    """
    step, rest = divmod(mask.shape[0], resolution)
    if rest or not step or mask.shape[0] != mask.shape[1]:
        return _unit_normals(normal, mask, (resolution, resolution))
    rows, columns = window_of(mask, step)
    small = tuple(slice(part.start // step, part.stop // step) for part in (rows, columns))
    whole = np.full((resolution, resolution, 3), WHITE, np.uint8)
    size = (small[0].stop - small[0].start, small[1].stop - small[1].start)
    if min(size) > 0:
        whole[small] = _unit_normals(normal[rows, columns], mask[rows, columns], size)
    return whole


def _unit_normals(normal: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    vectors = normal.astype(np.float32) / 127.5 - 1
    vectors *= (mask / (np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors)) + 1e-8))[..., None]
    cover = resize(mask.astype(np.float32), size)[..., None]
    vectors = resize(vectors, size)
    vectors *= cover / (np.sqrt(np.einsum("hwc,hwc->hw", vectors, vectors))[..., None] + 1e-8)
    return np.rint((vectors + (2 - cover)) * 127.5).clip(0, WHITE).astype(np.uint8)


def prepare(image: np.ndarray, normal: np.ndarray, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """The decoded files of one person to image and normal map, uint8 [R,R,3] each."""
    if normal.ndim != 3 or normal.shape[:2] != image.shape[:2]:
        normal = cv2.resize(compose(normal), (image.shape[1], image.shape[0]), interpolation=cv2.INTER_NEAREST)
    normal = np.ascontiguousarray(normal[..., :3])
    return resize(compose(image), (resolution, resolution)), unit_normals(
        normal, person_mask(normal, image), resolution
    )


def mirror(image: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The decoded files flipped left to right; the normals' x changes sign, the white background stays."""
    normal = compose(normal)[:, ::-1].copy()
    person = (normal != WHITE).any(axis=2)
    normal[person, 0] = WHITE - normal[person, 0]
    return image[:, ::-1].copy(), normal
