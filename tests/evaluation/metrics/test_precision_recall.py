from __future__ import annotations

import numpy as np
import pytest

from ag3d.evaluation.metrics import precision_recall


def test_manifolds_of_a_lattice():
    """Numbers 0 … 9: each ball reaches to the third nearest, which is 2 away in the middle and 3 at the ends."""
    real = np.arange(10.0)[:, None]
    fake = np.array([[4.5], [-2.9], [-3.1], [11.9], [50.0], [51.0], [52.0], [53.0]])
    precision, recall = precision_recall.precision_recall(fake, real)
    assert precision == 3 / 8
    # The fakes' balls: 4.5 reaches 7.6 (to -3.1), -2.9 and -3.1 far to the right, 11.9 to 4.5 and beyond.
    assert recall == 1.0


def test_swapping_swaps_and_equal_sets_are_perfect():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 5)), random.normal(0.8, 0.5, size=(50, 5))
    assert precision_recall.precision_recall(x, y) == precision_recall.precision_recall(y, x)[::-1]
    assert precision_recall.precision_recall(x, x) == (1.0, 1.0)


def test_collapse_is_precise_and_recalls_nothing():
    random = np.random.default_rng(1)
    real = random.normal(size=(200, 6))
    collapsed = real[:1] + 1e-6 * random.normal(size=(50, 6))
    precision, recall = precision_recall.precision_recall(collapsed, real)
    assert precision == 1.0
    assert recall <= 1 / 200
    assert precision_recall.diversity(collapsed, real) < 1e-6
    assert precision_recall.diversity(random.normal(size=(5000, 6)), random.normal(size=(5000, 6))) == pytest.approx(
        1, abs=0.05
    )


def test_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(2)
    x, y = random.normal(size=(40, 3)), random.normal(0.5, size=(30, 3))
    whole = precision_recall.precision_recall(x, y), precision_recall.nearest_reals(x, y, 2)
    monkeypatch.setattr(precision_recall, "BLOCK_ROWS", 7)
    assert precision_recall.precision_recall(x, y) == whole[0]
    np.testing.assert_array_equal(precision_recall.nearest_reals(x, y, 2)[1], whole[1][1])


def test_what_was_learnt_by_heart_is_counted():
    random = np.random.default_rng(3)
    real = random.normal(size=(100, 8))
    copies = real[:25] + 0.01 * random.normal(size=(25, 8))
    assert precision_recall.copied_share(np.concatenate([copies, random.normal(size=(75, 8))]), real) == pytest.approx(
        0.25, abs=0.01
    )
    distances, indices = precision_recall.nearest_reals(copies, real, 3)
    np.testing.assert_array_equal(indices[:, 0], np.arange(25))
    assert (np.diff(distances, axis=1) >= 0).all()


def test_too_few_are_refused():
    with pytest.raises(ValueError, match="more than 3"):
        precision_recall.precision_recall(np.zeros((3, 2)), np.zeros((9, 2)))


def test_error_of_a_share():
    random = np.random.default_rng(0)
    assert precision_recall.wilson_interval(0.3, 200)["deviation"] == pytest.approx(
        random.binomial(200, 0.3, 20_000).std() / 200, rel=0.03
    )
    none = precision_recall.wilson_interval(0.0, 50)
    assert none["low"] == pytest.approx(0.0, abs=1e-12)
    assert none["deviation"] == pytest.approx(0.0714 / 2 / 1.96, abs=1e-3)
    assert none["high"] == pytest.approx(0.0714, abs=1e-3)  # 1.96² / (50 + 1.96²)
