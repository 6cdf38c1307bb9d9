"""The endless order in which people are shown: a pure function of seed and position, so a position is all its state."""

from __future__ import annotations

import functools

import numpy as np


class Sampler:
    """Every pass over the data set is a fresh permutation. Position p is the p-th image of the whole run."""

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError("an empty data set cannot be sampled")
        self.size, self.seed = size, seed
        self._permutation = functools.lru_cache(maxsize=2)(self._permute)

    def _permute(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.size)

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self.size)
        return int(self._permutation(epoch)[place])

    def range(self, start: int, stop: int) -> list[int]:
        """Indices of the images at positions start ... stop-1."""
        return [self[position] for position in range(start, stop)]
