"""The data set's pictures in the network's sizes, and their features, kept by content."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from ag3d import console
from ag3d.evaluation.generated import faces
from ag3d.evaluation.pictures import Pictures, to_floats, to_tensor
from ag3d.evaluation.protocols import Source
from ag3d.evaluation.streams import Extractor, Features, measure
from ag3d.files import atomic
from ag3d.model.generator import Generator
from ag3d.model.networks.filters import resize
from ag3d.model.training.dataset import ZipDataset
from ag3d.provenance import digest
from ag3d.shards import ShardReader, content_hash

log = logging.getLogger(__name__)
LAYOUT = 2  # raise it when the same data set would give other features


def real(paths: Sequence[Path], generator: Generator, source: Source, batch: int) -> Iterator[Pictures]:
    """All people of the data set, unmirrored, in batches, at the sizes that `source` makes fakes in.

    The reference shrinks the image-sized normal maps and does not round them.
    """
    settings = generator.settings
    side = source.normal_side(generator)
    images = ZipDataset(paths, settings.image_resolution, cache_bytes=0)
    small = images if source.reference else ZipDataset(paths, side, cache_bytes=0)
    device = next(generator.parameters()).device
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as readers:
        for start in console.progress(range(0, len(images), batch), "data set", unit="batch"):
            numbers = range(start, min(start + batch, len(images)))
            items = list(readers.map(images.__getitem__, numbers))
            image = [_channels_last(item.image) for item in items]
            label = torch.from_numpy(np.stack([item.label for item in items])).to(device)
            shrunk = items if source.reference else readers.map(small.__getitem__, numbers)
            normal = [_channels_last(item.normal) for item in shrunk]
            if source.reference:
                normal = to_floats(resize(to_tensor(normal), side))
            yield Pictures(image, normal, faces(image, label, generator, source))


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
) -> Features:
    """Features of the data set, from `cache` (a folder) when the very same ones were computed before."""
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
        return stored
    found = measure(real(paths, generator, source, batch), extractors)
    write_features(path, found)
    return found


def read_features(path: Path) -> Features | None:
    """Features from a file; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        log.warning("%s is damaged and is computed again", path)
        return None


def write_features(path: Path, features: Features) -> None:
    with atomic(path) as beside:
        np.savez(beside, allow_pickle=False, **features)
