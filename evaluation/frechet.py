"""Fréchet distance between Gaussians fitted to features (Dowson and Landau 1982; Heusel et al. 2017), in float64.

The same number by two ways: from means and covariances, which stream over any number of images, and from the features
themselves, which is exact and fast where images are few.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Statistics:
    """Mean and covariance of feature vectors, accumulated in float64 batch by batch (Chan, Golub and LeVeque 1983)."""

    count: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))  # [D]
    scatter: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))  # [D,D], sum of outer products about the mean

    def add(self, features: np.ndarray) -> None:
        """`features` [n,D]"""
        if features.ndim != 2 or not np.isfinite(features).all():
            raise ValueError(f"features must be finite and [n,D], got {features.shape}")
        if not len(features):
            return
        x = features.astype(np.float64)
        mean = x.mean(0)
        centred = x - mean
        self.merge(Statistics(len(x), mean, centred.T @ centred))

    def merge(self, other: Statistics) -> None:
        """Take in the statistics of other vectors."""
        if not self.count:
            self.count, self.mean, self.scatter = other.count, other.mean.copy(), other.scatter.copy()
            return
        total = self.count + other.count
        delta = other.mean - self.mean
        self.scatter = self.scatter + other.scatter + np.outer(delta, delta) * (self.count * other.count / total)
        self.mean = self.mean + delta * (other.count / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """[D,D], unbiased (divided by n - 1), as clean-fid's."""
        if self.count < 2:
            raise ValueError("a covariance needs at least two vectors")
        return self.scatter / (self.count - 1)


def statistics(features: np.ndarray) -> Statistics:
    """Statistics of features [n,D]."""
    result = Statistics()
    result.add(features)
    return result


def distance(a: Statistics, b: Statistics) -> float:
    """|mean_a - mean_b|² + tr(A + B - 2 (A B)^½), from symmetric eigenproblems.

    (A B)^½ and (A^½ B A^½)^½ have the same trace; the latter is symmetric, so no complex numbers arise from rounding.
    """
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    product = root @ b.covariance @ root
    cross = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    return _assemble(a.mean - b.mean, np.trace(a.covariance) + np.trace(b.covariance), cross)


def distance_of_features(x: np.ndarray, y: np.ndarray) -> float:
    """The same from features x [n,D], y [m,D].

    With centred X, Y scaled so that A = XᵀX and B = YᵀY, tr (A B)^½ is the sum of the singular values of X Yᵀ, an
    [n,m] matrix: exact where A and B are singular, and cheap where n and m are below D. Elsewhere `distance` is faster.
    """
    if min(len(x), len(y)) > x.shape[1]:
        return distance(statistics(x), statistics(y))
    (x_mean, x_root), (y_mean, y_root) = _centred(x), _centred(y)
    cross = np.linalg.svd(x_root @ y_root.T, compute_uv=False).sum()
    return _assemble(x_mean - y_mean, (x_root**2).sum() + (y_root**2).sum(), cross)


@dataclass
class Spread:
    """How far a distance can be trusted."""

    deviation: float  # standard deviation over resamples
    low: float  # 2.5 and 97.5 % points of the resamples, shifted by the bias
    high: float
    bias: float  # by how much few images are estimated to raise the value
    resamples: int


def bootstrap(x: np.ndarray, y: np.ndarray, resamples: int, seed: int) -> Spread:
    """Resample both sets of features with replacement (Efron 1979).

    A distance of few images is too large. Resampling makes it too large once more, by about as much: the mean of the
    resamples less the value estimates the bias.
    """
    random = np.random.default_rng(seed)
    value = distance_of_features(x, y)
    draws = np.array(
        [
            distance_of_features(x[random.integers(len(x), size=len(x))], y[random.integers(len(y), size=len(y))])
            for _ in range(resamples)
        ]
    )
    bias = float(draws.mean() - value)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Spread(float(draws.std(ddof=1)), max(0.0, float(low) - bias), max(0.0, float(high) - bias), bias, resamples)


def _centred(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) < 2:
        raise ValueError("a covariance needs at least two vectors")
    x = x.astype(np.float64)
    mean = x.mean(0)
    return mean, (x - mean) / np.sqrt(len(x) - 1)


def _assemble(difference: np.ndarray, traces: float, cross: float) -> float:
    return max(0.0, float(difference @ difference + traces - 2 * cross))
