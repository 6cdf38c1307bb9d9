"""Features in blocks of pictures: kept until all are there, so that a stopped run goes on, and shared by processes."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ag3d.core.files import atomic
from ag3d.evaluation.metrics.feature_extraction import Features

log = logging.getLogger(__name__)
BLOCK = 250  # pictures


def in_blocks(pictures: int, make: Callable[[range], Features], folder: Path, what: str) -> Features | None:
    """Features of all pictures, by `make` of a part of them. `folder` holds finished blocks; it belongs to these alone.

    Under torchrun each process makes every n-th block; the first one collects them, the others get None. They meet in
    the folder only, which all must see.
    """
    rank, processes = rank_and_processes()
    parts = [range(start, min(start + BLOCK, pictures)) for start in range(0, pictures, BLOCK)]
    if len(parts) == 1 and processes == 1:
        return make(parts[0])
    for index in range(rank, len(parts), processes):
        path = _block(folder, index)
        if read_features(path) is None:
            write_features(path, make(parts[index]))
        log.info("%s: block %d of %d is there", what, index + 1, len(parts))
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


def _block(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.npz"


def _wait(path: Path) -> Features:
    """A block, once its process has written it; torchrun ends everybody when one of them fails."""
    while (found := read_features(path)) is None:
        time.sleep(0.5)
    return found
