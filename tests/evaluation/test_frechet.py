from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from ag3d.evaluation import frechet


def correlated(count: int, dimensions: int, seed: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, dimensions)) @ random.normal(size=(dimensions, dimensions)) + shift


def by_square_root(x: np.ndarray, y: np.ndarray) -> float:
    """The textbook formula with the matrix square root."""
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b)
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * np.real(root)))


def test_known_value_in_one_dimension():
    a = frechet.Statistics(2, np.array([1.0]), np.array([[4.0]]))  # variance 4
    b = frechet.Statistics(2, np.array([3.0]), np.array([[9.0]]))  # variance 9
    assert frechet.distance(a, b) == pytest.approx((3 - 1) ** 2 + (3 - 2) ** 2, rel=1e-12)


@pytest.mark.parametrize("count", [300, 60])
def test_three_ways_agree(count):
    x, y = correlated(count, 40, 0), correlated(count + 7, 40, 1, shift=0.5)
    expected = by_square_root(x, y)
    assert frechet.distance(frechet.statistics(x), frechet.statistics(y)) == pytest.approx(expected, rel=1e-6)
    assert frechet.distance_of_features(x, y) == pytest.approx(expected, rel=1e-6)


def test_fewer_vectors_than_dimensions():
    x, y = correlated(20, 50, 2), correlated(30, 50, 3)
    eigen = frechet.distance(frechet.statistics(x), frechet.statistics(y))
    assert frechet.distance_of_features(x, y) == pytest.approx(eigen, rel=1e-6)


def test_distance_to_itself_is_zero_and_it_is_symmetric():
    x, y = correlated(100, 16, 4), correlated(100, 16, 5)
    assert frechet.distance_of_features(x, x) == pytest.approx(0, abs=1e-8 * (x**2).sum())
    assert frechet.distance_of_features(x, y) == pytest.approx(frechet.distance_of_features(y, x), rel=1e-10)


def test_streaming_equals_all_at_once():
    x = correlated(101, 12, 6) + 1e4  # far from zero: sums of squares would lose digits
    streamed = frechet.Statistics()
    for part in np.array_split(x, 7):
        streamed.add(part)
    np.testing.assert_allclose(streamed.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(streamed.covariance, np.cov(x, rowvar=False), rtol=1e-9, atol=1e-9)


def test_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        frechet.statistics(np.array([[1.0, np.nan]]))


def test_bias_shrinks_with_more_images_and_is_about_right():
    """Two samples of one distribution: the true distance is 0, so the value itself is the bias."""
    random = np.random.default_rng(7)
    few, many = random.normal(size=(2, 40, 10)), random.normal(size=(2, 400, 10))
    small, large = frechet.bootstrap(*few, resamples=40, seed=0), frechet.bootstrap(*many, resamples=40, seed=0)
    assert small.bias > 4 * large.bias > 0
    assert small.bias == pytest.approx(frechet.distance_of_features(*few), rel=0.6)
    assert small.low <= frechet.distance_of_features(*few)


def test_bootstrap_repeats_with_its_seed():
    x, y = correlated(30, 8, 8), correlated(30, 8, 9)
    assert frechet.bootstrap(x, y, 10, seed=3) == frechet.bootstrap(x, y, 10, seed=3)
    assert frechet.bootstrap(x, y, 10, seed=3) != frechet.bootstrap(x, y, 10, seed=4)
