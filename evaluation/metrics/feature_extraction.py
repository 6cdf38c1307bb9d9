"""Features of pictures, by one or more networks: the loop over batches, and the networks that the pipeline already carries.

The embedded networks (MediaPipe's, through LiteRT) stand in for Inception where its weights are not at hand. An inner
tensor of each is pooled over space to its mean and standard deviation. Distances on these features compare runs with
each other; they are no FID.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
import torch

from ag3d.config import Evaluation
from ag3d.core.errors import UserError
from ag3d.core.files import sha256
from ag3d.core.resize import resize
from ag3d.evaluation.metrics.image_sets import ImageBatch
from ag3d.evaluation.metrics.inception import MODES, Inception
from ag3d.evaluation.metrics.protocols import Protocol
from ag3d.evaluation.metrics.swd import PatchExtractor

Features = dict[str, np.ndarray]  # "stream/extractor" to [n,…]
QUEUED_BATCHES = 2  # that are made before the first has been looked at
PATCHES = 1 << 15  # about as many from all images of a set and a level


class Extractor(Interface):
    """Something that turns pictures into numbers; `sha256` changes whenever the numbers would."""

    name: str
    sha256: str

    def __call__(self, images: list[np.ndarray]) -> np.ndarray: ...


def make_extractors(
    protocols: Sequence[Protocol], models: Path, settings: Evaluation, device: torch.device
) -> dict[str, list[Extractor]]:
    """What each kind of protocol (its `network`) looks through. Raises UserError where a file is missing."""
    extractors: dict[str, list[Extractor]] = {}
    for network in {protocol.network for protocol in protocols}:
        if network == "embedded":
            extractors[network] = [EmbeddedFeatures(embedding, models) for embedding in EMBEDDINGS]
        elif network == "patches":
            extractors[network] = [PatchExtractor(min(128, max(8, PATCHES // settings.num_images)))]
        else:
            assert network in MODES, network
            extractors[network] = [Inception(settings.inception, network, device)]
    return extractors


def extract_features(batches: Iterable[ImageBatch], extractors: Sequence[Extractor]) -> Features:
    """Features of every picture of every stream by every network. Pictures are dropped batch by batch.

    The processor's networks look at one batch while the next is made. Inception shares the generator's device, and
    torch's settings are the whole process's: it takes its turn.
    """
    in_turn = [extractor for extractor in extractors if isinstance(extractor, Inception)]
    in_worker = [extractor for extractor in extractors if not isinstance(extractor, Inception)]
    collected: dict[str, list[np.ndarray]] = defaultdict(list)

    def collect(features: Features) -> None:
        for name, values in features.items():
            collected[name].append(values)

    with ThreadPoolExecutor(1) as worker:
        queue: deque[Future[Features]] = deque()
        for batch in batches:
            queue.append(worker.submit(_features_of, batch, in_worker))
            collect(_features_of(batch, in_turn))
            if len(queue) > QUEUED_BATCHES:
                collect(queue.popleft().result())
        for job in queue:
            collect(job.result())
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def _features_of(batch: ImageBatch, extractors: Sequence[Extractor]) -> Features:
    return {
        f"{stream}/{extractor.name}": extractor(images)
        for stream, images in batch.streams().items()
        for extractor in extractors
    }


@dataclass(frozen=True)
class Embedding:
    """Which tensor of which network, and how an image goes in."""

    name: str
    file: str
    tensor: int  # its index
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
        self._threads = ThreadPoolExecutor(_thread_count())
        interpreter = self._interpreter()
        input_shape = tuple(interpreter.get_input_details()[0]["shape"])
        details = {t["index"]: t for t in interpreter.get_tensor_details()}
        shape = tuple(details[embedding.tensor]["shape"]) if embedding.tensor in details else ()
        if shape != embedding.shape or input_shape != (1, embedding.side, embedding.side, 3):
            raise UserError(f"{self.path} is not the version that the features are defined on (MediaPipe 0.10.21's)")

    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """uint8 RGB images [H,W,3], of any sizes, to float32 [n,D]."""
        rows = list(self._threads.map(self._features, images))
        return np.stack(rows) if rows else np.zeros((0, self.embedding.dimensions), np.float32)

    def _features(self, image: np.ndarray) -> np.ndarray:
        assert image.dtype == np.uint8, image.dtype
        embedding = self.embedding
        x = (
            resize(image, (embedding.side, embedding.side)).astype(np.float32) * (embedding.scale / 255)
            + embedding.offset
        )
        interpreter = self._interpreter()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x[None])
        interpreter.invoke()
        values = interpreter.get_tensor(embedding.tensor)[0].astype(np.float64)
        return np.concatenate([values.mean((0, 1)), values.std((0, 1))]).astype(np.float32)

    def _interpreter(self):
        if not hasattr(self._interpreters, "of_thread"):
            self._interpreters.of_thread = _load_interpreter(self.path)
        return self._interpreters.of_thread


def _thread_count() -> int:
    """For each of the processes that torchrun started on this machine."""
    return max(1, min(16, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def _load_interpreter(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inner tensors are what we came for
        interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter
