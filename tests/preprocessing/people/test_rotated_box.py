from __future__ import annotations

import cv2
import numpy as np
import pytest

from ag3d.preprocessing.people.rotated_box import RotatedBox


def test_to_and_from_photo_are_inverse() -> None:
    region = RotatedBox(31.0, 17.5, 44.0, 0.7)
    points = np.random.default_rng(0).uniform(-10, 70, (20, 2))
    np.testing.assert_allclose(region.from_photo(region.to_photo(points, 64), 64), points)
    np.testing.assert_allclose(region.to_photo(np.array([[32.0, 32.0]]), 64), [[31.0, 17.5]])


def test_upright_corner_and_clockwise_turn() -> None:
    np.testing.assert_allclose(RotatedBox(10, 10, 4).to_photo(np.array([[0.0, 0.0]]), 8), [[8, 8]])
    quarter = RotatedBox(0, 0, 2, np.pi / 2)  # its upward direction points to the photograph's right
    np.testing.assert_allclose(quarter.to_photo(np.array([[0.5, 0.0]]), 1), [[1, 0]], atol=1e-12)
    np.testing.assert_allclose(quarter.rotate_vectors(np.array([[0.0, -1.0]])), [[1, 0]], atol=1e-12)


@pytest.mark.parametrize("side", [40.0, 400.0])
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_a_point_is_where_the_crop_shows_it(side: float, angle: float) -> None:
    """The centre of mass of a spot, reduced or enlarged, agrees with the geometry to a fraction of a pixel."""
    photo = np.zeros((500, 600), np.float32)
    spot = np.array([300.5, 250.5])  # centre of pixel (300, 250)
    radius = side / 40
    y, x = np.mgrid[0:500, 0:600]
    photo[:] = np.exp(-((x + 0.5 - spot[0]) ** 2 + (y + 0.5 - spot[1]) ** 2) / (2 * radius**2))
    region = RotatedBox(300.5 + side * 0.1, 250.5 - side * 0.2, side, angle)
    crop = region.warp((photo * 255).astype(np.uint8), 64).astype(float)
    rows, columns = np.mgrid[0:64, 0:64] + 0.5
    seen = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    np.testing.assert_allclose(seen, region.from_photo(spot[None], 64)[0], atol=0.15)


def test_paste_returns_a_crop_to_its_place() -> None:
    photo = cv2.GaussianBlur(np.random.default_rng(0).uniform(0, 1, (80, 90)).astype(np.float32), (0, 0), 4)
    region = RotatedBox(45, 40, 40, 0.3)
    back = region.paste(region.warp(photo, 80), (80, 90))
    inside = region.paste(np.ones((80, 80), np.float32), (80, 90)) == 1
    assert inside.mean() > 0.15
    np.testing.assert_allclose(back[inside], photo[inside], atol=0.01)
    assert (back[:10, :10] == 0).all()


def test_a_square_beside_the_photograph_is_empty() -> None:
    assert (RotatedBox(-500, -500, 50).warp(np.full((20, 20, 3), 9, np.uint8), 16) == 0).all()
