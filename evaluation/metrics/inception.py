"""Features of the Inception network that FID is defined on (Heusel et al. 2017), from the TorchScript file that others use.

Two ways for an image to go in. `legacy_tensorflow`: the network resizes by itself, as in AG3D's evaluation and in
clean-fid's mode of that name. `clean`: resized by Pillow with antialiasing, in floating point (Parmar et al. 2022).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from ag3d.core.errors import UserError
from ag3d.core.files import sha256
from ag3d.evaluation.metrics.inception_file import FILE, SOURCE, check_code, check_file

MODES = ("legacy_tensorflow", "clean")
SIDE, DIMENSIONS = 299, 2048


class Inception:
    """Callable: uint8 RGB images, or float32 in 0 … 255, to feature vectors."""

    def __init__(self, path: str | os.PathLike[str], mode: str, device: torch.device, batch: int = 64) -> None:
        """Raises UserError where the file is missing, is another one, or could touch other files."""
        assert mode in MODES, mode
        self.mode, self.device, self.batch = mode, device, batch
        self.name = f"inception_{mode}"
        self.path = check_file(path)
        check_code(self.path)
        self.sha256 = sha256(self.path)
        try:
            self._network = torch.jit.load(str(self.path), map_location=device).eval()
            shape = tuple(self._forward(torch.zeros(1, 3, SIDE, SIDE, device=device)).shape)
        except (RuntimeError, AttributeError, ValueError) as error:
            raise UserError(f"{self.path} is not the network {FILE}: {error}; get it from {SOURCE}") from error
        if shape != (1, DIMENSIONS):
            raise UserError(
                f"{self.path} is not the network {FILE}: its features are {list(shape)}; get it from {SOURCE}"
            )

    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """Images [H,W,3], all of one size, to float32 [n,2048]."""
        images = list(images)
        parts = [self._features_of(images[start : start + self.batch]) for start in range(0, len(images), self.batch)]
        return np.concatenate(parts) if parts else np.zeros((0, DIMENSIONS), np.float32)

    def _features_of(self, images: list[np.ndarray]) -> np.ndarray:
        if self.mode == "clean":
            with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
                images = list(pool.map(resize, map(to_uint8, images)))
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device, torch.float32)
        return self._forward(pixels).float().cpu().numpy()

    @torch.no_grad()
    def _forward(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as the reference, which switches TF32 off
            if self.mode == "clean":
                return self._network.layers.forward((pixels - 128) / 128).view(len(pixels), -1)
            return self._network(pixels, return_features=True).view(len(pixels), -1)


def resize(image: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] to float32 [299,299,3]: each channel bicubic with antialiasing by Pillow, not rounded, as clean-fid."""
    channels = [
        np.asarray(Image.fromarray(image[..., c].astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for c in range(3)
    ]
    return np.stack(channels, axis=2).clip(0, 255)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """An image of 0 … 255 in any type as uint8, rounded."""
    return image if image.dtype == np.uint8 else np.rint(image).clip(0, 255).astype(np.uint8)
