from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ag3d.evaluation import accuracy


@pytest.fixture
def joints() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, 3))


def test_mpjpe_ignores_the_place_only(joints):
    assert accuracy.mpjpe(joints + np.array([1, 2, 3]), joints) == pytest.approx(0, abs=1e-12)
    moved = joints.copy()
    moved[5] += [0.3, 0, 0]
    assert accuracy.mpjpe(moved, joints) == pytest.approx(0.3 / 24)


def test_pa_mpjpe_ignores_similarities_but_not_reflections(joints):
    rotation = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()
    assert accuracy.pa_mpjpe(1.7 * joints @ rotation.T + [1, 0, -2], joints) == pytest.approx(0, abs=1e-9)
    assert accuracy.pa_mpjpe(joints * [-1, 1, 1], joints) > 0.1


def test_angles():
    upright = Rotation.from_rotvec([np.pi, 0, 0])
    turned = Rotation.from_rotvec([0, np.radians(120), 0]) * upright
    leaning = Rotation.from_rotvec([np.radians(20), 0, 0]) * upright
    assert accuracy.rotation_angle(upright.as_matrix(), turned.as_matrix()) == pytest.approx(120)
    assert accuracy.turn(upright.as_matrix(), turned.as_matrix()) == pytest.approx(120)
    assert accuracy.turn(upright.as_matrix(), leaning.as_matrix()) == pytest.approx(0, abs=1e-9)


def test_masks():
    a, b = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    a[10:30, 10:30] = True
    b[10:30, 13:33] = True
    assert accuracy.iou(a, a) == 1
    assert accuracy.iou(a, b) == pytest.approx(17 / 23)
    assert accuracy.boundary_error(a, a) == 0
    assert 1 < accuracy.boundary_error(a, b) < 3
    assert accuracy.boundary_error(a, np.zeros_like(a)) is None


def test_swapped_sides_are_noticed(joints):
    found = np.zeros((33, 2))
    found[list(accuracy.LANDMARKS)] = joints[list(accuracy.JOINTS), :2]
    assert not accuracy.sides_swapped(found, joints[:, :2])
    mirrored = found.copy()
    mirrored[list(accuracy.LANDMARKS)] = found[np.array(accuracy.LANDMARKS)[list(accuracy.MIRRORED)]]
    assert accuracy.sides_swapped(mirrored, joints[:, :2])


def test_landmark_errors(joints):
    found, face = np.zeros((33, 2)), np.arange(10.0).reshape(5, 2)
    found[list(accuracy.LANDMARKS)] = joints[list(accuracy.JOINTS), :2]
    found[list(accuracy.FACE_LANDMARKS)] = face + np.array([3, 4])
    np.testing.assert_allclose(accuracy.landmark_errors(found, joints[:, :2], face), [0] * 12 + [5] * 5, atol=1e-12)


def test_normal_error():
    def encode(vector):
        return np.full((4, 4, 3), np.rint(127.5 * (np.array(vector) + 1)), np.uint8)

    tilted = encode([np.sin(0.5), 0, np.cos(0.5)])
    everywhere = np.ones((4, 4), bool)
    assert accuracy.normal_error(encode([0, 0, 1]), tilted, everywhere) == pytest.approx(np.degrees(0.5), abs=0.5)
    assert accuracy.normal_error(tilted, tilted, ~everywhere) is None
