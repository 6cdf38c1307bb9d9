"""What a camera and its file do to a picture: lens, sensor, JPEG, EXIF."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

_SIZES = {
    (480, 640): 0.2,
    (480, 720): 0.16,
    (540, 720): 0.16,
    (600, 800): 0.16,
    (600, 900): 0.09,
    (640, 960): 0.06,
    (720, 1080): 0.05,
    (640, 640): 0.07,
    (800, 600): 0.05,
}
_CAMERAS = (
    ("Canon", "Canon EOS 80D"),
    ("NIKON CORPORATION", "NIKON D750"),
    ("SONY", "ILCE-7M3"),
    ("Apple", "iPhone 12"),
    ("FUJIFILM", "X-T3"),
)
# How an upright picture must be turned to be stored under each EXIF orientation.
_STORED = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def sample_size(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of the upright picture."""
    return list(_SIZES)[rng.choice(len(_SIZES), p=list(_SIZES.values()))]


def expose(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lens blur, vignette, colour cast, contrast and noise: sRGB [H,W,3] in 0…1 to uint8."""
    h, w = picture.shape[:2]
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.35, 0.75))
    x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)[:, None]
    contrast = rng.uniform(0.94, 1.08)
    vignette = np.float32(contrast) * (1 - np.float32(rng.uniform(0, 0.06)) * (x**2 + y**2))
    picture = picture * vignette[..., None] * (1 + rng.normal(0, 0.015, 3)).astype(np.float32)
    picture += np.float32(0.5 - 0.5 * contrast + rng.normal(0, 0.01))
    grain = rng.standard_normal((h, w, 1), dtype=np.float32)
    colour = rng.standard_normal((h // 2 + 1, w // 2 + 1, 3), dtype=np.float32)
    grain = grain + 0.8 * cv2.resize(colour, (w, h), interpolation=cv2.INTER_LINEAR)
    picture = picture + np.float32(rng.uniform(0.002, 0.011)) * grain
    return (np.clip(picture, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def encode(upright: np.ndarray, rng: np.random.Generator) -> tuple[bytes, int, int]:
    """JPEG bytes with EXIF, their EXIF orientation and quality. A few pictures are stored turned, as phones do."""
    orientation = int(rng.choice([1, 6, 8, 3], p=[0.86, 0.06, 0.05, 0.03]))
    quality = int(rng.integers(80, 96))
    make, model = _CAMERAS[rng.integers(len(_CAMERAS))]
    date = f"{rng.integers(2016, 2025)}:{rng.integers(1, 13):02}:{rng.integers(1, 29):02} {rng.integers(8, 20):02}:{rng.integers(60):02}:{rng.integers(60):02}"
    image = Image.fromarray(upright)
    turn = _STORED[orientation]
    if turn is not None:
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x0132] = make, model, orientation, date
    exif[0x0131] = "AG3D synthetic photographs"
    exif.get_ifd(0x8769)[0x9003] = date
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=exif, subsampling=int(rng.choice([0, 2])))
    return buffer.getvalue(), orientation, quality
