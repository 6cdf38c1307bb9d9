"""Fréchet distance between Gaussians fitted to features (Dowson and Landau 1982; Heusel et al. 2017), in float64.

No covariance is formed: with centred features X and Y, scaled so that A = XᵀX and B = YᵀY are the covariances, and roots
R, S with A = RᵀR, B = SᵀS (triangular, by QR, or X and Y themselves where they have fewer rows than columns),
tr (A B)^½ is the sum of the singular values of R Sᵀ. This loses no digits to squaring, and needs neither a regulariser nor
another way where covariances are singular.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


def frechet_distance(x: np.ndarray, y: np.ndarray, device: torch.device | str = "cpu") -> float:
    """|mean_x - mean_y|² + tr(A + B - 2 (A B)^½) of features x [n,D], y [m,D]; covariances are divided by n - 1."""
    mean_gap, traces, product = _parts(x, y, device)
    return _assemble(mean_gap, traces, float(torch.linalg.svdvals(product.cpu()).sum()))


def frechet_distance_approx(x: np.ndarray, y: np.ndarray, device: torch.device | str = "cpu") -> float:
    """The same to about 1e-5 of the largest variance, several times faster: for resamples, whose spread is far larger.

    The singular values come from the eigenvalues of their squares.
    """
    mean_gap, traces, product = _parts(x, y, device)
    if len(product) > product.shape[1]:
        product = product.T
    return _assemble(mean_gap, traces, float(torch.linalg.eigvalsh(product @ product.T).clamp_min(0).sqrt().sum()))


@dataclass
class BootstrapSpread:
    """What the bootstrap says about a distance of few images."""

    deviation: float  # standard deviation over resamples
    low: float  # 2.5 and 97.5 % points of the resamples, shifted by the bias
    high: float
    bias: float  # by how much few images are estimated to raise the value
    resamples: int


def bootstrap(
    x: np.ndarray, y: np.ndarray, resamples: int, seed: int, device: torch.device | str = "cpu"
) -> BootstrapSpread:
    """Resample both sets of features with replacement (Efron 1979).

    A distance of few images is too large. Resampling makes it too large once more, by about as much: the mean of the
    resamples less the value estimates the bias.
    """
    random = np.random.default_rng(seed)
    value = frechet_distance_approx(x, y, device)

    def resampled_distance() -> float:
        first, second = (features[random.integers(len(features), size=len(features))] for features in (x, y))
        return frechet_distance_approx(first, second, device)

    resampled = np.array([resampled_distance() for _ in range(resamples)])
    bias = float(resampled.mean() - value)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return BootstrapSpread(
        float(resampled.std(ddof=1)), max(0.0, float(low) - bias), max(0.0, float(high) - bias), bias, resamples
    )


def _parts(x: np.ndarray, y: np.ndarray, device: torch.device | str) -> tuple[float, float, torch.Tensor]:
    """Squared distance of the means, sum of the variances, and R Sᵀ."""
    (x_mean, x_root), (y_mean, y_root) = (_root(features, device) for features in (x, y))
    traces = float(x_root.square().sum() + y_root.square().sum())
    return float((x_mean - y_mean).square().sum()), traces, x_root @ y_root.T


def _root(features: np.ndarray, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [D], and R [min(n,D),D] with RᵀR the covariance."""
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features must be finite and [n,D], got {features.shape}")
    if len(features) < 2:
        raise ValueError("a covariance needs at least two vectors")
    x = torch.from_numpy(np.ascontiguousarray(features)).to(device, torch.float64)
    mean = x.mean(0)
    centred = (x - mean) / (len(x) - 1) ** 0.5
    return mean, torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred


def _assemble(mean_gap: float, traces: float, cross: float) -> float:
    return max(0.0, mean_gap + traces - 2 * cross)
