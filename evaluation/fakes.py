"""Features of generated pictures, in blocks that are kept: a run that was stopped goes on, and processes share the work."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ag3d.evaluation.generated import generated
from ag3d.evaluation.protocols import Source
from ag3d.evaluation.real import read_features, write_features
from ag3d.evaluation.streams import Extractor, Features, measure
from ag3d.model.generator import Generator

log = logging.getLogger(__name__)
BLOCK = 250  # pictures


def fake_features(
    generator: Generator,
    poses: np.ndarray,
    source: Source,
    extractors: Sequence[Extractor],
    folder: Path,
    batch: int,
    seed: int,
) -> Features | None:
    """Features of all pictures of `source`. `folder` holds the finished blocks; it must belong to this very measurement.

    Under torchrun each process makes every n-th block; the first one collects them, the others get None.
    """
    rank, processes = rank_and_processes()
    parts = [range(start, min(start + BLOCK, source.samples)) for start in range(0, source.samples, BLOCK)]
    if len(parts) == 1 and processes == 1:
        return measure(generated(generator, poses, source, batch, seed), extractors)
    for index in range(rank, len(parts), processes):
        path = _block(folder, index)
        if read_features(path) is None:
            write_features(path, measure(generated(generator, poses, source, batch, seed, parts[index]), extractors))
        log.info("block %d of %d is there", index + 1, len(parts))
    if rank:
        return None
    found = [_wait(_block(folder, index)) for index in range(len(parts))]
    return {name: np.concatenate([block[name] for block in found]) for name in found[0]}


def forget(folder: Path) -> None:
    """Remove the blocks of a measurement that is finished."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()  # when no other measurement has blocks there


def rank_and_processes() -> tuple[int, int]:
    """Which process this is, and how many torchrun started."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def _block(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.npz"


def _wait(path: Path) -> Features:
    """A block, once its process has written it; torchrun ends everybody when one of them fails."""
    while (found := read_features(path)) is None:
        time.sleep(0.5)
    return found
