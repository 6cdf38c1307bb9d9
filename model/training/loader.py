"""Batches read ahead by threads (decoding releases Python's lock), in an order that threads cannot change."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from ag3d.model.training.dataset import Item, ZipDataset, collate
from ag3d.model.training.sampler import Sampler

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Loader:
    """Yields (images uint8 [b,3,R,R], normals uint8 [b,3,R,R], labels [b,111]) of one process's share of each batch.

    The share is the positions `first` ... `first + share - 1` within every global batch of `batch` images. Iterating
    starts at `position` images, so resuming needs that number alone. `workers` 0 reads in the calling thread.
    """

    def __init__(
        self,
        dataset: ZipDataset,
        sampler: Sampler,
        batch: int,
        position: int = 0,
        first: int = 0,
        share: int | None = None,
        workers: int = 2,
        ahead: int = 3,
    ) -> None:
        self.dataset, self.sampler, self.batch, self.position = dataset, sampler, batch, position
        self.first, self.share = first, batch - first if share is None else share
        self.ahead = ahead
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="loader") if workers else None

    def _indices(self, position: int) -> list[int]:
        return self.sampler.range(position + self.first, position + self.first + self.share)

    def __iter__(self) -> Iterator[Batch]:
        if self._pool is None:
            while True:
                batch = collate([self.dataset[index] for index in self._indices(self.position)])
                self.position += self.batch
                yield batch
        queue: deque[list[Future[Item]]] = deque()
        position = self.position
        while True:
            while len(queue) < self.ahead:
                queue.append([self._pool.submit(self.dataset.__getitem__, index) for index in self._indices(position)])
                position += self.batch
            batch = collate([future.result() for future in queue.popleft()])
            self.position += self.batch
            yield batch

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
