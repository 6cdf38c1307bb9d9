"""Mattes from elsewhere: a network of the user's own, or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from scipy.special import softmax

from ag3d.config.data import OnnxMatting
from ag3d.core.bounded import read_bytes
from ag3d.core.errors import UserError
from ag3d.core.shards import decode_image
from ag3d.preprocessing.matching import NamedFiles, Photographs
from ag3d.preprocessing.matting import refine
from ag3d.preprocessing.onnx_model import OnnxNetwork
from ag3d.preprocessing.people.blazepose import sigmoid
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.read_image import PhotoError

SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".jpg", ".jpeg")


def cut_square(
    rgb: np.ndarray,
    region: RotatedBox,
    size: tuple[int, int],
    person_share: Callable[[np.ndarray], np.ndarray],
    refined: bool,
) -> np.ndarray:
    """uint8 [H,W]: alpha for `rgb` by a network that sees the upright square around `region`, at `size` (height, width).
    `person_share`: uint8 RGB of that size to the person's share of each pixel, float32 [h,w].

    A picture that is not square shows the square and, beyond it, more of the photograph along its longer side.
    """
    (height, width), side = size, max(size)
    square = RotatedBox(region.x, region.y, float(2 * region.reach * side / min(size)))
    top, left = (side - height) // 2, (side - width) // 2
    inside = np.s_[top : top + height, left : left + width]
    mask = np.zeros((side, side), np.float32)
    share = person_share(square.warp(rgb, side)[inside])
    mask[inside] = cv2.resize(share, (width, height), interpolation=cv2.INTER_LINEAR)
    if refined:
        return refine.refine(rgb, mask, square)
    return np.rint(255 * square.paste(mask, rgb.shape[:2]).clip(0, 1)).astype(np.uint8)


class OnnxBackend:
    """`alpha(rgb, region)`: uint8 [H,W], the person's share of each pixel of a photograph."""

    def __init__(self, settings: OnnxMatting, threads: int = 1, device: str = "cpu") -> None:
        """Raises UserError about the file and its settings."""
        self.settings = settings
        self.network = OnnxNetwork(settings, "matting.onnx", threads=threads, device=device)

    def __call__(self, rgb: np.ndarray, region: RotatedBox) -> np.ndarray:
        """Raises PhotoError where the network gives values that are not finite."""
        size = self.network.height, self.network.width
        return cut_square(rgb, region, size, self.person_share, self.settings.refine)

    def person_share(self, picture: np.ndarray) -> np.ndarray:
        """The person's share float32 [h,w] of `picture` (uint8 RGB)."""
        out, channel = self.network(picture), self.settings.channel
        if channel >= out.shape[2]:
            raise UserError(
                f"'matting.onnx.channel' is {channel}, but the network's output has {out.shape[2]} channels"
            )
        if self.settings.activation == "softmax":
            out = softmax(out, axis=2)
        values = out[..., channel]
        if self.settings.activation == "sigmoid":
            values = sigmoid(values)
        elif values.max() > 1.5:
            raise UserError(
                f"{self.network.file}: the output reaches {values.max():.3g}, so it is no share from 0 to 1; "
                "set 'matting.onnx.activation' to sigmoid or softmax"
            )
        return np.ascontiguousarray(values.clip(0, 1), np.float32)


class FolderBackend:
    """`alpha(path, size)`: the matte of the photograph at the relative `path`, found by the rule of `matching`."""

    def __init__(self, folder: str, photographs: Photographs | None = None) -> None:
        """`photographs`: all that there are. Raises UserError where there is no such folder."""
        self.root = Path(folder)
        if not folder or not self.root.is_dir():
            raise UserError(f"'matting.folder' is '{folder}', which is no folder; name the one that holds the mattes")
        self._files = NamedFiles(self.root, SUFFIXES, photographs)

    def alpha(self, path: str, size: tuple[int, int]) -> np.ndarray:
        """uint8 [H,W] of `size` (width, height). Raises PhotoError where there is none, or one of another shape."""
        try:
            file = self._files.of(path)
        except ValueError as error:
            raise PhotoError(f"its matte cannot be told: {error}") from error
        if file is None:
            raise PhotoError(f"there is no matte of its name in {self.root}")
        try:
            image = decode_image(read_bytes(file), str(file))
        except UserError as error:
            raise PhotoError(f"its matte is no readable picture: {error}") from error
        if image.ndim == 3:
            cut_out = image.shape[2] == 4 and image[..., 3].min() < 255
            image = image[..., 3] if cut_out else image[..., :3].max(axis=2)
        if abs(image.shape[1] / image.shape[0] * size[1] / size[0] - 1) > 0.02:
            raise PhotoError(f"its matte has other proportions ({image.shape[1]} × {image.shape[0]} pixels)")
        return image if image.shape[::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
