"""Kernel distance between feature sets (KID, Bińkowski et al. 2018): unbiased at any number of images."""

from __future__ import annotations

import numpy as np
import torch

BLOCK_ROWS = 2048  # rows of a kernel matrix at once


def kernel_distance(x: np.ndarray, y: np.ndarray, device: torch.device | str = "cpu") -> float:
    """Squared maximum mean discrepancy of features x [n,D], y [m,D] under the kernel (x·y/D + 1)³, in float64.

    The unbiased estimator over all pairs, so that it can be a little below zero. Its expectation is that of the usual
    mean over random subsets, without their noise.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("a kernel distance needs at least two vectors of each kind")
    a, b = (torch.from_numpy(np.asarray(features, np.float64)).to(device) for features in (x, y))
    n, m = len(a), len(b)
    within = (_kernel_sum(a, a) - _kernel_trace(a)) / (n * (n - 1)) + (_kernel_sum(b, b) - _kernel_trace(b)) / (
        m * (m - 1)
    )
    return float(within - 2 * _kernel_sum(a, b) / (n * m))


def _kernel_sum(a: torch.Tensor, b: torch.Tensor) -> float:
    return sum(float(_kernel(part, b).sum()) for part in a.split(BLOCK_ROWS))


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _kernel_trace(a: torch.Tensor) -> float:
    return float(((a.square().sum(1) / a.shape[1] + 1) ** 3).sum())
