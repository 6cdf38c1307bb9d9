"""Where normals come from, beside the body: our network's weights, a network of the user's own, a folder of pictures."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from ag3d.config.data import Normals, OnnxNormals
from ag3d.core.bounded import read_bytes
from ag3d.core.errors import UserError
from ag3d.core.resize import resize
from ag3d.core.shards import decode_image
from ag3d.preprocessing.matching import NamedFiles
from ag3d.preprocessing.normals.inpainting import unit
from ag3d.preprocessing.onnx_model import OnnxNetwork, onnx_file

OWN = Path(__file__).parent / "weights" / "normals.safetensors"  # comes with the project
SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".bmp")
_BACKGROUNDS = {"white": 255, "grey": 127.5, "black": 0}


def network_file(settings: Normals) -> Path | None:
    """The file of the method's network; None for methods without one. Raises UserError where it is missing."""
    if settings.method == "onnx":
        return onnx_file(settings.onnx, "normals.onnx")
    if settings.method != "network":
        return None
    path = Path(settings.network) if settings.network else OWN
    for file in (path, path.with_suffix(".json")):
        if not file.is_file():
            raise UserError(
                f"{file} does not exist; name the weights of a normal network with 'normals.network' (.safetensors, its card "
                ".json beside it), or make them with: ag3d normals-train"
            )
    return path


class OnnxBackend:
    """`backend(crop, normals, covered)`: unit normals [H,W,3] of an aligned crop (uint8 RGBA)."""

    def __init__(self, settings: OnnxNormals, threads: int = 1, device: str = "cpu") -> None:
        """Raises UserError about the file and its settings."""
        self.settings = settings
        self.axes, self.signs = read_axes(settings.axes)
        self.low, self.high = settings.output_range
        self.network = OnnxNetwork(settings, "normals.onnx", 3 if settings.body else 0, threads, device)

    def __call__(self, crop: np.ndarray, normals: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Raises ValueError where the network gives no direction on the person."""
        size = (self.network.width, self.network.height)
        share = crop[..., 3:].astype(np.float32) / 255
        picture = crop[..., :3] * share + _BACKGROUNDS[self.settings.background] * (1 - share)
        picture = np.rint(resize(picture, size)).astype(np.uint8)
        body = None
        if self.settings.body:
            body = unit(resize(np.where(covered[..., None], normals, 0).astype(np.float32), size))
        out = self.network(picture, body)
        if out.shape[2] != 3:
            raise UserError(f"{self.network.file}: the output has {out.shape[2]} channels; normals have 3")
        vectors = (out[..., self.axes] - self.low) / (self.high - self.low) * 2 - 1
        vectors = cv2.resize(vectors * self.signs, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_LINEAR)
        if np.linalg.norm(vectors, axis=2)[share[..., 0] > 0.5].min(initial=1) < 1e-3:
            raise ValueError("the network gives no direction on part of the person")
        return unit(vectors)


def read_axes(text: str) -> tuple[list[int], np.ndarray]:
    """Which channel of the output holds x, y and z, and its signs float32 [3], by the configuration's words."""
    signs, axes = zip(*re.findall(r"([+-]?)([xyz])", text.lower()), strict=True)
    order = [axes.index(axis) for axis in "xyz"]
    return order, np.array([-1.0 if signs[k] == "-" else 1.0 for k in order], np.float32)


class FolderBackend:
    """`normals(person, side)`: unit normals [side,side,3] of the person's crop."""

    def __init__(self, folder: str) -> None:
        """Raises UserError where there is no such folder."""
        self.root = Path(folder)
        if not folder or not self.root.is_dir():
            raise UserError(
                f"'normals.folder' is '{folder}', which is no folder; name the one that holds the normal maps"
            )
        self._files = NamedFiles(self.root, SUFFIXES)

    def normals(self, person: str, side: int) -> np.ndarray:
        """Raises ValueError where there is no map, or none that can be used."""
        file = self._files.of(person)
        if file is None:
            raise ValueError(f"there is no normal map of its name in {self.root}")
        try:
            image = decode_image(read_bytes(file), str(file))
        except UserError as error:
            raise ValueError(f"its normal map is no readable picture: {error}") from error
        if image.ndim != 3:
            raise ValueError("its normal map is grey; colours are directions")
        if image.shape[0] != image.shape[1]:
            raise ValueError(f"its normal map is not square ({image.shape[1]} × {image.shape[0]} pixels)")
        vectors = image[..., :3].astype(np.float32) / 127.5 - 1
        return unit(resize(vectors, (side, side)))
