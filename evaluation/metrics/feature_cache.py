"""Features of both sets of pictures: in blocks, so that a stopped run goes on and processes share the work, and the data
set's kept by content."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ag3d.core.bounded import read_npz
from ag3d.core.errors import UserError
from ag3d.core.files import atomic
from ag3d.core.provenance import digest
from ag3d.evaluation.metrics.feature_extraction import Extractor, Features, extract_features
from ag3d.evaluation.metrics.image_sets import RealImages, data_sha256, generated_images
from ag3d.evaluation.metrics.protocols import Source
from ag3d.model.generator import Generator

log = logging.getLogger(__name__)
BLOCK_SIZE = 250  # pictures
LAYOUT = 2  # raise it when the same data set would give other features


def fake_features(
    generator: Generator,
    poses: np.ndarray,
    source: Source,
    extractors: Sequence[Extractor],
    folder: Path,
    batch_size: int,
    seed: int,
) -> Features | None:
    """Features of all pictures of `source`. `folder` holds the finished blocks; it must belong to this very measurement.

    Under torchrun the processes share the blocks; all but the first get None.
    """

    def of_part(part: range) -> Features:
        return extract_features(generated_images(generator, poses, source, batch_size, seed, part), extractors)

    return compute_in_blocks(source.samples, of_part, folder, "generated")


def real_features(
    paths: Sequence[Path],
    generator: Generator,
    source: Source,
    extractors: Sequence[Extractor],
    cache: Path,
    batch_size: int,
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
    if (cached := read_features(path)) is not None:
        log.info("features of the data set: %s", path)
        return cached if rank_and_world_size()[0] == 0 else None
    images, folder = RealImages(paths, generator, source), cache / "blocks" / key

    def of_part(part: range) -> Features:
        return extract_features(images.batches(batch_size, part), extractors)

    features = compute_in_blocks(len(images), of_part, folder, "data set")
    if features is not None:
        write_features(path, features)
        remove_blocks(folder)
    return features


def compute_in_blocks(count: int, of_part: Callable[[range], Features], folder: Path, what: str) -> Features | None:
    """Features of `count` pictures, by `of_part` of a block of them. `folder` holds finished blocks of these alone.

    Under torchrun each process makes every n-th block; the first one collects them, the others get None. They meet in
    the folder only, which all must see.
    """
    rank, world_size = rank_and_world_size()
    parts = [range(start, min(start + BLOCK_SIZE, count)) for start in range(0, count, BLOCK_SIZE)]
    if len(parts) == 1 and world_size == 1:
        return of_part(parts[0])
    paths = [folder / f"{index:05d}.npz" for index in range(len(parts))]
    for index in range(rank, len(parts), world_size):
        if read_features(paths[index]) is None:
            write_features(paths[index], of_part(parts[index]))
        log.info("%s: block %d of %d is there", what, index + 1, len(parts))
    if rank:
        return None
    blocks = [_wait_for(path) for path in paths]
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def remove_blocks(folder: Path) -> None:
    """Of a measurement that is finished."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # when no other measurement has blocks there


def rank_and_world_size() -> tuple[int, int]:
    """Which process this is, and how many torchrun started."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def read_features(path: Path) -> Features | None:
    """Features from a file; None where there is none, or a damaged one."""
    if not path.exists():
        return None
    try:
        with read_npz(path) as arrays:
            return dict(arrays)
    except UserError as error:
        log.warning("%s; it is computed again", error)
        return None


def write_features(path: Path, features: Features) -> None:
    with atomic(path) as beside:
        np.savez(beside, allow_pickle=False, **features)


def _wait_for(path: Path) -> Features:
    """A block, once its process has written it; torchrun ends everybody when one of them fails."""
    while (features := read_features(path)) is None:
        time.sleep(0.5)
    return features
