"""Rendering many photographs, in several processes if wanted."""

from __future__ import annotations

import functools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

from ag3d.model.body.body import Body
from ag3d.preprocessing.synthetic import truth
from ag3d.preprocessing.synthetic.meshes import Meshes
from ag3d.preprocessing.synthetic.photograph import make_photograph

Rendered = TypeVar("Rendered")
Job = tuple[str, str, int, int]  # body file, garments file, seed, number
Result = tuple[
    int, bytes, tuple[bytes, bytes], dict[str, Any]
]  # number, JPEG, mask and normals as PNG, row of the truth


@functools.lru_cache(maxsize=1)
def models(body: str, garments: str) -> tuple[Body, Meshes]:
    """The body and what it is dressed in, read once per process. Raises UserError."""
    loaded = Body.load(body)
    return loaded, Meshes.load(loaded, Path(garments))


def render_one(job: Job) -> Result:
    body, garments, seed, number = job
    photograph = make_photograph(*models(body, garments), seed, number)
    name = truth.file_name(number)
    return number, photograph.jpeg, truth.maps_of(photograph), truth.row(name, photograph.truth)


def render_all(body: str, garments: str, seed: int, count: int, workers: int) -> Iterator[Result]:
    """Photographs 0 … count - 1 of `seed`, in order."""
    return map_jobs(render_one, [(body, garments, seed, number) for number in range(count)], workers)


def map_jobs(render: Callable[[Job], Rendered], jobs: list[Job], workers: int) -> Iterator[Rendered]:
    """What `render` makes of every job, in order; `jobs` share their files."""
    models(*jobs[0][:2])  # a file that cannot be read is told before any process starts
    if workers <= 1 or len(jobs) < 2:
        _one_thread()
        yield from map(render, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_start_worker) as pool:
        yield from pool.map(render, jobs, chunksize=2)


def _start_worker() -> None:
    """A worker ends with its parent, however that ends: by itself it would wait for work for ever."""
    _one_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
