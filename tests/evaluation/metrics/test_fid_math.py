from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from ag3d.evaluation.metrics import fid_math


def correlated(count: int, dimensions: int, seed: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, dimensions)) @ random.normal(size=(dimensions, dimensions)) + shift


def by_square_root(x: np.ndarray, y: np.ndarray) -> float:
    """The textbook formula with the matrix square root."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(root)))


def of_variances(variances: np.ndarray, count: int, turn: np.ndarray, seed: int) -> np.ndarray:
    """Features whose covariance is turn diag(variances) turnᵀ, and whose mean is 0, but for the last digits."""
    random = np.random.default_rng(seed)
    normal = random.normal(size=(count, len(variances)))
    frame = np.linalg.qr(np.column_stack([np.ones(count), normal]))[0][:, 1:]  # orthonormal, each of mean 0
    return (np.sqrt(count - 1) * frame * np.sqrt(variances)) @ turn.T


def test_known_value_in_one_dimension():
    x, y = np.array([[-1.0], [3.0]]), np.array([[0.0], [6.0]])  # means 1 and 3, variances 8 and 18
    expected = (3 - 1) ** 2 + (np.sqrt(18) - np.sqrt(8)) ** 2
    assert fid_math.frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("count", [300, 60])
def test_it_is_the_textbooks(count):
    x, y = correlated(count, 40, 0), correlated(count + 7, 40, 1, shift=0.5)
    expected = by_square_root(x, y)
    assert fid_math.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert fid_math.frechet_distance_approx(x, y) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smallest", [1e-6, 1e-12, 1e-18])
@pytest.mark.parametrize("count", [400, 40])
def test_ill_conditioned_covariances_cost_no_digits(count, smallest):
    """Covariances that commute have a distance in closed form: Σ (√a - √b)². Variances from 1 down to `smallest`."""
    dimensions = 96
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(dimensions, dimensions)))[0]
    a = np.logspace(0, np.log10(smallest), dimensions)
    if count <= dimensions:
        a[count - 2 :] = 0
    b = a * np.linspace(0.98, 1.03, dimensions)
    some = a > 0
    x, y = (of_variances(v[some], count, turn[:, some], seed) for seed, v in enumerate((a, b)))
    expected = ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert fid_math.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)
    assert fid_math.frechet_distance_approx(x, y) == pytest.approx(expected, abs=1e-5)


def test_singular_covariances_of_many_vectors():
    """Columns that repeat each other, and one that is constant."""
    x, y = (
        np.column_stack([p, p @ np.ones((6, 3)), np.full(len(p), 2.0)]) for p in (correlated(90, 6, s) for s in (0, 1))
    )
    x = x.astype(np.float32)
    assert fid_math.frechet_distance(x, y) == pytest.approx(by_singular_values(x, y), rel=1e-6)


def by_singular_values(x: np.ndarray, y: np.ndarray) -> float:
    """Without roots of any kind: from the [n,m] matrix of products."""
    roots = [(z.astype(np.float64) - z.astype(np.float64).mean(0)) / np.sqrt(len(z) - 1) for z in (x, y)]
    gap = x.astype(np.float64).mean(0) - y.astype(np.float64).mean(0)
    cross = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(gap @ gap + sum((root**2).sum() for root in roots) - 2 * cross)


def test_distance_to_itself_is_zero_and_it_is_symmetric():
    x, y = correlated(100, 16, 4), correlated(100, 16, 5)
    assert fid_math.frechet_distance(x, x) == pytest.approx(0, abs=1e-12 * (x**2).sum())
    assert fid_math.frechet_distance(x, y) == pytest.approx(fid_math.frechet_distance(y, x), rel=1e-10)


def test_sums_are_in_double_precision():
    x, y = (correlated(400, 12, s).astype(np.float32) + np.float32(1e3) for s in (6, 7))
    expected = by_square_root(x.astype(np.float64), y.astype(np.float64))
    assert fid_math.frechet_distance(x, y) == pytest.approx(expected, rel=1e-6)


def test_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        fid_math.frechet_distance(np.array([[1.0, np.nan]]), np.eye(2))


def test_bias_shrinks_with_more_images_and_is_about_right():
    """Two samples of one distribution: the true distance is 0, so the value itself is the bias."""
    random = np.random.default_rng(7)
    few, many = random.normal(size=(2, 40, 10)), random.normal(size=(2, 400, 10))
    small, large = fid_math.bootstrap(*few, resamples=40, seed=0), fid_math.bootstrap(*many, resamples=40, seed=0)
    assert small.bias > 4 * large.bias > 0
    assert small.bias == pytest.approx(fid_math.frechet_distance(*few), rel=0.6)
    assert small.low <= fid_math.frechet_distance(*few)


def test_bootstrap_repeats_with_its_seed():
    x, y = correlated(30, 8, 8), correlated(30, 8, 9)
    assert fid_math.bootstrap(x, y, 10, seed=3) == fid_math.bootstrap(x, y, 10, seed=3)
    assert fid_math.bootstrap(x, y, 10, seed=3) != fid_math.bootstrap(x, y, 10, seed=4)
