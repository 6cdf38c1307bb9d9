"""Kernel distance between feature sets (KID, Bińkowski et al. 2018): unbiased at any number of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

_BLOCK = 2048  # rows of a kernel matrix at once


def distance(x: np.ndarray, y: np.ndarray, device: torch.device | str = "cpu") -> float:
    """Squared maximum mean discrepancy of features x [n,D], y [m,D] under the kernel (x·y/D + 1)³, in float64.

    The unbiased estimator over all pairs, so that it can be a little below zero. Its expectation is that of the usual
    mean over random subsets, without their noise.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("a kernel distance needs at least two vectors of each kind")
    a, b = (torch.from_numpy(np.asarray(part, np.float64)).to(device) for part in (x, y))
    n, m = len(a), len(b)
    within = (_total(a, a) - _diagonal(a)) / (n * (n - 1)) + (_total(b, b) - _diagonal(b)) / (m * (m - 1))
    return float(within - 2 * _total(a, b) / (n * m))


def deviation(
    x: np.ndarray,
    y: np.ndarray,
    estimate: Callable[[np.ndarray, np.ndarray], float],
    draws: int,
    seed: int,
    most: int = 1000,
) -> float:
    """Standard deviation of `estimate` on x [n,D], y [m,D], from subsets of a quarter without replacement.

    Politis and Romano (1994), with the correction for finite sets. Drawing with replacement, as for the Fréchet
    distance, would compare images with their own copies. `most`: subsets are never larger.
    """
    random = np.random.default_rng(seed)
    size = max(2, min(len(x), len(y), 4 * most) // 4)
    values = [
        estimate(x[random.permutation(len(x))[:size]], y[random.permutation(len(y))[:size]]) for _ in range(draws)
    ]
    share = size / min(len(x), len(y))
    return float(np.std(values, ddof=1) * np.sqrt(share / max(1 - share, share)))


def _total(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(float(_kernel(part, b).sum()) for part in a.split(_BLOCK))


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _diagonal(a: torch.Tensor) -> float:
    return float(((a.square().sum(1) / a.shape[1] + 1) ** 3).sum())
