"""Features of streams of pictures."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol as Interface

import numpy as np
import torch

from ag3d.config import Evaluation
from ag3d.evaluation.metrics.embedded_features import EMBEDDINGS, EmbeddedFeatures
from ag3d.evaluation.metrics.inception import MODES, Inception
from ag3d.evaluation.metrics.neighbour_picture import Pictures
from ag3d.evaluation.metrics.protocols import Protocol
from ag3d.evaluation.metrics.swd import Patches

Features = dict[str, np.ndarray]  # "stream/extractor" to [n,…]
AHEAD = 2  # batches that are made before the first has been looked at
PATCHES = 1 << 15  # about as many from all images of a set and a level


class Extractor(Interface):
    """Something that turns pictures into numbers; `sha256` changes whenever the numbers would."""

    name: str
    sha256: str

    def __call__(self, images: list[np.ndarray]) -> np.ndarray: ...


def extractors(
    protocols: Sequence[Protocol], models: Path, settings: Evaluation, device: torch.device
) -> dict[str, list[Extractor]]:
    """What each kind of protocol (its `network`) looks through. Raises UserError where a file is missing."""
    found: dict[str, list[Extractor]] = {}
    for network in {protocol.network for protocol in protocols}:
        if network == "embedded":
            found[network] = [EmbeddedFeatures(embedding, models) for embedding in EMBEDDINGS]
        elif network == "patches":
            found[network] = [Patches(min(128, max(8, PATCHES // settings.num_images)))]
        else:
            assert network in MODES, network
            found[network] = [Inception(settings.inception, network, device)]
    return found


def measure(batches: Iterable[Pictures], networks: Sequence[Extractor]) -> Features:
    """Features of every picture of every stream by every network. Pictures are dropped batch by batch.

    The processor's networks look at one batch while the next is made. Inception shares the generator's device, and
    torch's settings are the whole process's: it takes its turn.
    """
    here = [network for network in networks if isinstance(network, Inception)]
    beside = [network for network in networks if not isinstance(network, Inception)]
    collected = defaultdict(list)

    def keep(found: Features) -> None:
        for name, values in found.items():
            collected[name].append(values)

    with ThreadPoolExecutor(1) as worker:
        waiting: deque[Future[Features]] = deque()
        for pictures in batches:
            waiting.append(worker.submit(_look, pictures, beside))
            keep(_look(pictures, here))
            if len(waiting) > AHEAD:
                keep(waiting.popleft().result())
        for job in waiting:
            keep(job.result())
    return {name: np.concatenate(parts) for name, parts in collected.items()}


def _look(pictures: Pictures, networks: Sequence[Extractor]) -> Features:
    return {
        f"{stream}/{network.name}": network(images)
        for stream, images in pictures.streams().items()
        for network in networks
    }
