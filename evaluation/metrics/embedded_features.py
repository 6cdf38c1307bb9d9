"""Features of images from the small networks that the pipeline already carries (MediaPipe's, through LiteRT).

They stand in for Inception where its weights are not at hand. An inner tensor of each network is pooled over space to
its mean and standard deviation. Distances on these features compare runs with each other; they are no FID.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ag3d.core.errors import UserError
from ag3d.core.files import sha256


@dataclass(frozen=True)
class Embedding:
    """Which tensor of which network, and how an image goes in."""

    name: str
    file: str
    tensor: int
    shape: tuple[int, ...]  # of the tensor, [1,h,w,channels]
    side: int  # of the network's input
    scale: float  # input = image / 255 * scale + offset
    offset: float

    @property
    def dimensions(self) -> int:
        return 2 * self.shape[-1]


# The deepest spatial tensors of the two networks, as in MediaPipe 0.10.21's files.
EMBEDDINGS = (
    Embedding("segmentation", "selfie_segmentation.tflite", 167, (1, 16, 16, 128), 256, 1.0, 0.0),
    Embedding("detection", "pose_detection.tflite", 434, (1, 7, 7, 288), 224, 2.0, -1.0),
)


class EmbeddedFeatures:
    """Callable: uint8 RGB images to feature vectors."""

    def __init__(self, embedding: Embedding, folder: str | os.PathLike[str]) -> None:
        """`folder`: where the .tflite files lie. Raises UserError where a file is missing or another version."""
        self.embedding, self.name = embedding, embedding.name
        self.path = Path(folder) / embedding.file
        if not self.path.exists():
            raise UserError(
                f"{self.path} does not exist; make it with: python -m ag3d.preprocessing.models --output {folder}"
            )
        self.sha256 = sha256(self.path)
        # An interpreter has room for one image; each thread has its own.
        self._interpreters = threading.local()
        self._threads = ThreadPoolExecutor(_processors())
        interpreter = self._interpreter()
        side = interpreter.get_input_details()[0]["shape"]
        details = {t["index"]: t for t in interpreter.get_tensor_details()}
        found = tuple(details[embedding.tensor]["shape"]) if embedding.tensor in details else ()
        if found != embedding.shape or tuple(side) != (1, embedding.side, embedding.side, 3):
            raise UserError(f"{self.path} is not the version that the features are defined on (MediaPipe 0.10.21's)")

    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """uint8 RGB images [H,W,3], of any sizes, to float32 [n,D]."""
        rows = list(self._threads.map(self._one, images))
        return np.stack(rows) if rows else np.zeros((0, self.embedding.dimensions), np.float32)

    def _one(self, image: np.ndarray) -> np.ndarray:
        assert image.dtype == np.uint8, image.dtype
        e = self.embedding
        x = resize(image, e.side).astype(np.float32) * (e.scale / 255) + e.offset
        interpreter = self._interpreter()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[None])
        interpreter.invoke()
        values = interpreter.get_tensor(e.tensor)[0].astype(np.float64)
        return np.concatenate([values.mean((0, 1)), values.std((0, 1))]).astype(np.float32)

    def _interpreter(self):
        if not hasattr(self._interpreters, "own"):
            self._interpreters.own = _interpreter(self.path)
        return self._interpreters.own


def resize(image: np.ndarray, side: int) -> np.ndarray:
    """To [side,side]: averaged over areas when smaller, bilinear when larger."""
    if image.shape[:2] == (side, side):
        return image
    smaller = min(image.shape[:2]) > side
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _processors() -> int:
    """For each of the processes that torchrun started on this machine."""
    return max(1, min(16, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _interpreter(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inner tensors are what we came for
        interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
