"""Mattes made elsewhere: a folder with a grey picture, or one with an alpha channel, for each photograph."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ag3d.core.errors import UserError
from ag3d.preprocessing.photos.read_image import PhotoError

SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg")


class MatteFolder:
    """`alpha(path, size)`: the matte of the photograph at the relative `path`. It lies at the same place in the folder,
    or bears the photograph's name, with the ending of a picture."""

    def __init__(self, folder: str) -> None:
        """Raises UserError where there is no such folder."""
        self.root = Path(folder).expanduser()
        if not folder or not self.root.is_dir():
            raise UserError(f"'matting.folder' is '{folder}', which is no folder; name the one that holds the mattes")

    def alpha(self, path: str, size: tuple[int, int]) -> np.ndarray:
        """uint8 [H,W] of `size` (width, height). Raises PhotoError where there is none, or one of another shape."""
        places = [self.root / f"{base}{suffix}" for base in _names(path) for suffix in SUFFIXES]
        place = next((place for place in places if place.is_file()), None)
        if place is None:
            raise PhotoError(f"there is no matte of its name in {self.root}")
        image = cv2.imread(str(place), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype != np.uint8:
            raise PhotoError("its matte is no readable 8-bit picture")
        if image.ndim == 3:
            image = image[..., 3] if image.shape[2] == 4 else image.max(axis=2)
        if abs(image.shape[1] / image.shape[0] * size[1] / size[0] - 1) > 0.02:
            raise PhotoError(f"its matte has other proportions ({image.shape[1]} × {image.shape[0]} pixels)")
        return image if image.shape[::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _names(path: str) -> list[str]:
    plain = Path(path)
    return [str(plain.with_suffix("")), str(plain), plain.stem, plain.name]
