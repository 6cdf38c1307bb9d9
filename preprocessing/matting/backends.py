"""Mattes from elsewhere: a network of the user's own, or a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ag3d.config.data import OnnxMatting
from ag3d.core.errors import UserError
from ag3d.preprocessing.matting import refine
from ag3d.preprocessing.onnx_model import OnnxNetwork
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.read_image import PhotoError

SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg")


class OnnxBackend:
    """`alpha(rgb, region)`: uint8 [H,W], the person's share of each pixel of a photograph."""

    def __init__(self, settings: OnnxMatting, threads: int = 1) -> None:
        """Raises UserError about the file and its settings."""
        self.settings = settings
        self.network = OnnxNetwork(settings, "matting.onnx", threads=threads)

    def __call__(self, rgb: np.ndarray, region: RotatedBox) -> np.ndarray:
        """Raises PhotoError where the network gives values that are not finite."""
        height, width, side = self.network.height, self.network.width, max(self.network.height, self.network.width)
        # An input that is not square sees the person's square and, beyond it, more of the photograph along its longer side.
        reach = region.side * (abs(np.cos(region.angle)) + abs(np.sin(region.angle))) * side / min(height, width)
        square = RotatedBox(region.x, region.y, float(reach))
        top, left = (side - height) // 2, (side - width) // 2
        picture = square.warp(rgb, side)[top : top + height, left : left + width]
        try:
            out = self.network(picture)
        except ValueError as error:
            raise PhotoError(str(error)) from error
        share = cv2.resize(self.person_share(out), (width, height), interpolation=cv2.INTER_LINEAR)
        mask = np.zeros((side, side), np.float32)
        mask[top : top + height, left : left + width] = share
        if self.settings.refine:
            return refine.refine(rgb, mask, square)
        return np.rint(255 * square.paste(mask, rgb.shape[:2]).clip(0, 1)).astype(np.uint8)

    def person_share(self, out: np.ndarray) -> np.ndarray:
        """The person's share [h,w], 0 to 1, of the network's output [h,w,C]."""
        channel = self.settings.channel
        if channel >= out.shape[2]:
            raise UserError(
                f"'matting.onnx.channel' is {channel}, but the network's output has {out.shape[2]} channels"
            )
        if self.settings.activation == "softmax":
            out = np.exp(out - out.max(axis=2, keepdims=True))
            out = out / out.sum(axis=2, keepdims=True)
        values = out[..., channel]
        if self.settings.activation == "sigmoid":
            values = 1 / (1 + np.exp(-values.clip(-80, 80)))
        elif values.max() > 1.5:
            raise UserError(
                f"{self.network.file}: the output reaches {values.max():.3g}, so it is no share from 0 to 1; "
                "set 'matting.onnx.activation' to sigmoid or softmax"
            )
        return np.ascontiguousarray(values.clip(0, 1), np.float32)


class FolderBackend:
    """`alpha(path, size)`: the matte of the photograph at the relative `path`. It lies at the same place in the folder,
    or bears the photograph's name, with the ending of a picture."""

    def __init__(self, folder: str) -> None:
        """Raises UserError where there is no such folder."""
        self.root = Path(folder).expanduser()
        if not folder or not self.root.is_dir():
            raise UserError(f"'matting.folder' is '{folder}', which is no folder; name the one that holds the mattes")

    def alpha(self, path: str, size: tuple[int, int]) -> np.ndarray:
        """uint8 [H,W] of `size` (width, height). Raises PhotoError where there is none, or one of another shape."""
        candidates = (self.root / f"{base}{suffix}" for base in _names(path) for suffix in SUFFIXES)
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            raise PhotoError(f"there is no matte of its name in {self.root}")
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
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
