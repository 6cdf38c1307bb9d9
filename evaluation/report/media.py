"""Pictures, plots and videos as data that an HTML page can carry."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ag3d.core.bounded import read_bytes
from ag3d.core.shards import decode_image, encode_png


def data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def jpeg(image: np.ndarray, side: int = 0, quality: int = 85) -> str:
    """uint8 RGB as a JPEG data URI, its longer side at most `side` (0: as it is)."""
    buffer = io.BytesIO()
    Image.fromarray(shrink(image, side)).save(buffer, "JPEG", quality=quality, optimize=True)
    return data_uri(buffer.getvalue(), "image/jpeg")


def png(image: np.ndarray, side: int = 0) -> str:
    """uint8 image as a PNG data URI: for small generated pictures, where every pixel counts."""
    return data_uri(encode_png(shrink(image, side)), "image/png")


def picture_file(path: Path, side: int, lossless_below: int = 200_000) -> str:
    """An image file: as it is where small, else reduced to `side` as JPEG."""
    data = read_bytes(path)
    image = decode_image(data, str(path))
    if len(data) <= lossless_below and path.suffix == ".png":
        return data_uri(data, "image/png")
    return jpeg(on_white(image), side, quality=90)


def video_file(path: Path) -> str:
    return data_uri(read_bytes(path), "video/mp4")


def on_white(image: np.ndarray) -> np.ndarray:
    """uint8 grey, RGB or RGBA to RGB on white."""
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    if image.shape[2] == 3:
        return image.copy()
    alpha = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    height, width = image.shape[:2]
    longest = max(height, width)
    if not side or longest <= side:
        return image
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
