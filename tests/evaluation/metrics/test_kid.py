from __future__ import annotations

import numpy as np
import pytest

from ag3d.evaluation.metrics import kid
from ag3d.evaluation.metrics.distances import subset_deviation


def test_one_dimension_by_hand():
    # Kernel (xy + 1)³: within x = {0, 1}: 1; within y = {2, 3}: 343; across: 1, 1, 27, 64.
    x, y = np.array([[0.0], [1.0]]), np.array([[2.0], [3.0]])
    assert kid.kernel_distance(x, y) == pytest.approx(1 + 343 - 2 * (1 + 1 + 27 + 64) / 4)


def test_moments_of_gaussians():
    """E k over independent x ~ N(a, 1), y ~ N(b, 1) in one dimension has a closed form in the moments."""

    def expected(a: float, b: float) -> float:
        moments = [(1, a, a * a + 1, a**3 + 3 * a) for a in (a, b)]
        return sum(c * moments[0][k] * moments[1][k] for k, c in enumerate((1, 3, 3, 1)))

    random = np.random.default_rng(0)
    truth = expected(0, 0) + expected(0.5, 0.5) - 2 * expected(0, 0.5)
    values = [kid.kernel_distance(random.normal(size=(80, 1)), random.normal(0.5, 1, size=(60, 1))) for _ in range(300)]
    error = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) == pytest.approx(truth, abs=4 * error)
    assert 4 * error < truth / 2


def test_equal_distributions_average_to_zero():
    random = np.random.default_rng(1)
    values = [kid.kernel_distance(random.normal(size=(30, 4)), random.normal(size=(30, 4))) for _ in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(200)
    assert min(values) < 0 < max(values)


def test_blocks_do_not_matter(monkeypatch):
    x, y = np.random.default_rng(2).normal(size=(2, 50, 3))
    whole = kid.kernel_distance(x, y)
    monkeypatch.setattr(kid, "BLOCK_ROWS", 7)
    assert kid.kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_deviation_is_about_right():
    random = np.random.default_rng(3)

    def difference(x: np.ndarray, y: np.ndarray) -> float:
        return float(x.mean() - y.mean())

    x, y = random.normal(size=(400, 1)), random.normal(size=(400, 1))
    assert subset_deviation(x, y, difference, 200, seed=0) == pytest.approx(np.sqrt(2 / 400), rel=0.25)


def test_too_few_vectors_are_refused():
    with pytest.raises(ValueError, match="at least two"):
        kid.kernel_distance(np.zeros((1, 2)), np.zeros((5, 2)))
