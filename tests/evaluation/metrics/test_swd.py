from __future__ import annotations

import cv2
import numpy as np
import pytest

from ag3d.evaluation.metrics import swd


def test_equal_sets_are_zero_and_order_does_not_matter():
    x = np.random.default_rng(0).normal(size=(500, 147))
    assert swd.sliced_wasserstein(x, x) == 0
    assert swd.sliced_wasserstein(x, x[::-1]) == pytest.approx(0, abs=1e-3)


def test_gaussians_of_other_spread():
    """Channels 0 … 2 are made alike in mean and deviation, so that two patterns in space must differ to be told apart.

    Along a direction d, N(0, A) and N(0, B) are √(2/π) |√(dᵀAd) - √(dᵀBd)| apart (Wasserstein-1).
    """
    random = np.random.default_rng(1)
    first, second = np.ones(147), np.ones(147)
    for channel in range(3):  # half of a channel's pixels vary three times as much, another half in the other set
        first[channel * 49 : channel * 49 + 24] = 3
        second[channel * 49 + 25 : channel * 49 + 49] = 3
    x, y = (random.normal(size=(20_000, 147)) * s for s in (first, second))
    directions = random.standard_normal((147, 4000))
    directions /= np.linalg.norm(directions, axis=0)
    a, b = (s / np.sqrt((s.reshape(3, 49) ** 2).mean(1)).repeat(49) for s in (first, second))
    along = [np.sqrt((directions**2 * (part**2)[:, None]).sum(0)) for part in (a, b)]
    expected = swd.SCALE * np.sqrt(2 / np.pi) * np.abs(along[0] - along[1]).mean()
    assert swd.sliced_wasserstein(x, y) == pytest.approx(expected, rel=0.1)


def test_colours_do_not_count_and_texture_does():
    random = np.random.default_rng(2)
    x = random.normal(size=(2000, 3, 49))
    recoloured = (x * np.array([2, 0.5, 7])[:, None] + np.array([30, -5, 100])[:, None]).reshape(2000, -1)
    assert swd.sliced_wasserstein(x.reshape(2000, -1), recoloured) == pytest.approx(0, abs=0.1)


def test_unequal_numbers_are_compared():
    random = np.random.default_rng(3)
    x, y = random.normal(size=(900, 147)), random.normal(size=(400, 147))
    correlated = np.repeat(y[:, :3], 49, axis=1)
    assert 0 < swd.sliced_wasserstein(x, y) < 0.5 * swd.sliced_wasserstein(x, correlated)


def test_the_pyramid_adds_up():
    image = np.random.default_rng(4).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    levels = swd.laplacian_pyramid(image)
    assert [level.shape[0] for level in levels] == [64, 32, 16]
    whole = levels[-1]
    for level in levels[-2::-1]:
        whole = cv2.pyrUp(whole, dstsize=level.shape[:2]) + level
    np.testing.assert_allclose(whole, image, atol=1e-3)
    assert swd.laplacian_pyramid(image[:8, :8]) == []


def test_patches_are_cut_from_the_image_and_do_not_depend_on_the_order():
    random = np.random.default_rng(5)
    images = [random.integers(0, 255, (16, 16, 3), dtype=np.uint8) for _ in range(3)]
    found = swd.PatchExtractor(4)(images)
    assert found.shape == (3, 1, 4, 147)
    np.testing.assert_array_equal(swd.PatchExtractor(4)(images[::-1])[::-1], found)
    windows = np.lib.stride_tricks.sliding_window_view(images[0], (7, 7), axis=(0, 1)).reshape(-1, 147)
    assert all((windows == patch).all(1).any() for patch in found[0, 0])


def test_blur_shows_at_the_finest_level():
    random = np.random.default_rng(6)
    images = [
        cv2.GaussianBlur(random.integers(0, 255, (64, 64, 3), dtype=np.uint8), (0, 0), 1.0 + 0.1 * (k % 3))
        for k in range(40)
    ]
    patches = swd.PatchExtractor(128)
    sharp, same, blurred = (
        patches(images[:20]),
        patches(images[20:]),
        patches([cv2.GaussianBlur(i, (0, 0), 4) for i in images[20:]]),
    )
    near, far = swd.sliced_wasserstein_by_level(sharp, same), swd.sliced_wasserstein_by_level(sharp, blurred)
    assert far[0] > 2 * near[0]
