"""Normals from a network of the user's own."""

from __future__ import annotations

import re

import cv2
import numpy as np

from ag3d.config.data import OnnxNormals
from ag3d.core.errors import UserError
from ag3d.preprocessing.normals.inpainting import unit
from ag3d.preprocessing.onnx_model import OnnxNetwork

_BACKGROUNDS = {"white": 255, "grey": 127.5, "black": 0}


class OnnxEstimate:
    """`estimate(crop, normals, covered)`: unit normals [H,W,3] of an aligned crop (uint8 RGBA)."""

    def __init__(self, settings: OnnxNormals, threads: int = 1) -> None:
        """Raises UserError about the file and its settings."""
        self.settings = settings
        self.axes, self.signs = read_axes(settings.axes)
        self.low, self.high = read_range(settings.output_range)
        self.network = OnnxNetwork(settings, "normals.onnx", extra=3 if settings.body else 0, threads=threads)

    def __call__(self, crop: np.ndarray, normals: np.ndarray, covered: np.ndarray) -> np.ndarray:
        """Raises ValueError where the network gives no direction on the person."""
        size = (self.network.width, self.network.height)
        flags = cv2.INTER_AREA if size[0] < len(crop) else cv2.INTER_LINEAR
        share = crop[..., 3:].astype(np.float32) / 255
        picture = crop[..., :3] * share + _BACKGROUNDS[self.settings.background] * (1 - share)
        picture = np.rint(cv2.resize(picture, size, interpolation=flags)).astype(np.uint8)
        body = None
        if self.settings.body:
            body = unit(
                cv2.resize(np.where(covered[..., None], normals, 0).astype(np.float32), size, interpolation=flags)
            )
        out = self.network(picture, body)
        if out.shape[2] != 3:
            raise UserError(f"{self.network.file}: the output has {out.shape[2]} channels; normals have 3")
        vectors = (out[..., self.axes] - self.low) / (self.high - self.low) * 2 - 1
        vectors = cv2.resize(vectors * self.signs, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_LINEAR)
        if np.linalg.norm(vectors, axis=2)[share[..., 0] > 0.5].min(initial=1) < 1e-3:
            raise ValueError("the network gives no direction on part of the person")
        return unit(vectors)


def read_axes(text: str) -> tuple[list[int], np.ndarray]:
    """Which channel of the output holds x, y and z, and its signs float32 [3]. Raises UserError."""
    found = re.findall(r"([+-]?)([xyz])", text.lower())
    if sorted(axis for _, axis in found) != ["x", "y", "z"] or re.sub(r"[+\-xyz\s,]", "", text.lower()):
        raise UserError(
            f"configuration: 'normals.onnx.axes' is {text!r}; name the three axes, such as 'x y z' or 'x -y -z'"
        )
    order = [next(k for k, (_, name) in enumerate(found) if name == axis) for axis in "xyz"]
    return order, np.array([-1.0 if found[k][0] == "-" else 1.0 for k in order], np.float32)


def read_range(values: list[float]) -> tuple[float, float]:
    """The values that mean -1 and 1. Raises UserError."""
    if len(values) != 2 or values[0] == values[1]:
        raise UserError(f"configuration: 'normals.onnx.output_range' is {values}; two different numbers are needed")
    return values[0], values[1]
