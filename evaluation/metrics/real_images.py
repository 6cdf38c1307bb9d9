"""The data set's pictures in the network's sizes, and their features, kept by content."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ag3d.core import console
from ag3d.core.provenance import digest
from ag3d.core.shards import ShardReader, content_hash
from ag3d.evaluation.metrics.feature_cache import forget, in_blocks, rank_and_processes, read_features, write_features
from ag3d.evaluation.metrics.feature_extraction import Extractor, Features, measure
from ag3d.evaluation.metrics.generated_images import faces
from ag3d.evaluation.metrics.neighbour_picture import Pictures, to_floats, to_tensor
from ag3d.evaluation.metrics.protocols import Source
from ag3d.model.generator import Generator
from ag3d.model.ops.resize import resize
from ag3d.model.training.dataset import ZipDataset

log = logging.getLogger(__name__)
LAYOUT = 2  # raise it when the same data set would give other features


class Real:
    """All people of the data set, unmirrored, at the sizes that `source` makes fakes in.

    The reference shrinks the image-sized normal maps and does not round them.
    """

    def __init__(self, paths: Sequence[Path], generator: Generator, source: Source) -> None:
        self.generator, self.source = generator, source
        self._side = source.normal_side(generator)
        self._images = ZipDataset(paths, generator.settings.image_resolution, cache_bytes=0)
        self._small = self._images if source.reference else ZipDataset(paths, self._side, cache_bytes=0)

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, batch: int, part: range | None = None) -> Iterator[Pictures]:
        """Those of `part` only, if given."""
        part = part or range(len(self))
        device = next(self.generator.parameters()).device
        with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as readers:
            for start in console.progress(range(part.start, part.stop, batch), "data set", unit="batch"):
                numbers = range(start, min(start + batch, part.stop))
                items = list(readers.map(self._images.__getitem__, numbers))
                image = [_channels_last(item.image) for item in items]
                label = torch.from_numpy(np.stack([item.label for item in items])).to(device)
                shrunk = items if self.source.reference else readers.map(self._small.__getitem__, numbers)
                normal = [_channels_last(item.normal) for item in shrunk]
                if self.source.reference:
                    normal = to_floats(resize(to_tensor(normal), self._side))
                yield Pictures(image, normal, faces(image, label, self.generator, self.source))


def _channels_last(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def data_sha256(paths: Sequence[Path]) -> str:
    """One hash of names and contents in the zips, whatever their order; what made them does not count."""
    return content_hash([ShardReader(path) for path in paths])


def real_features(
    paths: Sequence[Path],
    generator: Generator,
    source: Source,
    extractors: Sequence[Extractor],
    cache: Path,
    batch: int,
) -> Features | None:
    """Features of the data set, from `cache` (a folder) when the very same ones were computed before.

    Under torchrun the processes share the work; all but the first get None.
    """
    settings = generator.settings
    key = digest(
        {
            "layout": LAYOUT,
            "data": data_sha256(paths),
            "body": generator.body.sha256,
            "resolution": settings.image_resolution,
            "normal": source.normal_side(generator),
            "face": source.face_side(generator),
            "reference": source.reference,
            "networks": {extractor.name: extractor.sha256 for extractor in extractors},
        }
    )
    path = cache / f"features-{key}.npz"
    if (stored := read_features(path)) is not None:
        log.info("features of the data set: %s", path)
        return stored if rank_and_processes()[0] == 0 else None
    pictures, folder = Real(paths, generator, source), cache / "blocks" / key
    found = in_blocks(
        len(pictures), lambda part: measure(pictures.batches(batch, part), extractors), folder, "data set"
    )
    if found is not None:
        write_features(path, found)
        forget(folder)
    return found
