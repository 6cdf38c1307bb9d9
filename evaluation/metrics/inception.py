"""Features of the Inception network that FID is defined on (Heusel et al. 2017), with the weights that others use.

Two ways for an image to go in. `legacy_tensorflow`: resized as TensorFlow does, as in AG3D's evaluation and in clean-fid's
mode of that name. `clean`: resized by Pillow with antialiasing, in floating point (Parmar et al. 2022).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image

from ag3d.evaluation.metrics.inception_file import FILE, KNOWN, read_network
from ag3d.evaluation.metrics.inception_network import DIMENSIONS, SIDE, resize_tensorflow

log = logging.getLogger(__name__)
MODES = ("legacy_tensorflow", "clean")


class Inception:
    """Callable: uint8 RGB images, or float32 in 0 … 255, to feature vectors."""

    def __init__(self, path: str | os.PathLike[str], mode: str, device: torch.device, batch: int = 64) -> None:
        """Raises UserError where the file is missing, or holds another network. Nothing in it is executed."""
        assert mode in MODES, mode
        self.mode, self.device, self.batch = mode, device, batch
        self.name = f"inception_{mode}"
        network, self.sha256 = read_network(path)
        self._network = network.to(device)
        if self.sha256 not in KNOWN:
            log.warning("%s are not the weights of %s: values with them compare with each other alone", path, FILE)

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
            return self._network(((pixels if self.mode == "clean" else resize_tensorflow(pixels)) - 128) / 128)


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
