from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ag3d.core.landmarks import MIRRORED_LANDMARKS
from ag3d.evaluation.truth import pose_metrics


@pytest.fixture
def joints() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(24, 3))


def test_mpjpe_ignores_the_place_only(joints):
    assert pose_metrics.mpjpe(joints + np.array([1, 2, 3]), joints) == pytest.approx(0, abs=1e-12)
    moved = joints.copy()
    moved[5] += [0.3, 0, 0]
    assert pose_metrics.mpjpe(moved, joints) == pytest.approx(0.3 / 24)


def test_pa_mpjpe_ignores_similarities_but_not_reflections(joints):
    rotation = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()
    assert pose_metrics.pa_mpjpe(1.7 * joints @ rotation.T + [1, 0, -2], joints) == pytest.approx(0, abs=1e-9)
    assert pose_metrics.pa_mpjpe(joints * [-1, 1, 1], joints) > 0.1


def test_angles():
    upright = Rotation.from_rotvec([np.pi, 0, 0])
    turned = Rotation.from_rotvec([0, np.radians(120), 0]) * upright
    leaning = Rotation.from_rotvec([np.radians(20), 0, 0]) * upright
    assert pose_metrics.rotation_angle(upright.as_matrix(), turned.as_matrix()) == pytest.approx(120)
    assert pose_metrics.facing_angle(upright.as_matrix(), turned.as_matrix()) == pytest.approx(120)
    assert pose_metrics.facing_angle(upright.as_matrix(), leaning.as_matrix()) == pytest.approx(0, abs=1e-9)


def test_masks():
    a, b = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    a[10:30, 10:30] = True
    b[10:30, 13:33] = True
    assert pose_metrics.iou(a, a) == 1
    assert pose_metrics.iou(a, b) == pytest.approx(17 / 23)
    assert pose_metrics.boundary_error(a, a) == 0
    assert 1 < pose_metrics.boundary_error(a, b) < 3
    assert pose_metrics.boundary_error(a, np.zeros_like(a)) is None


def test_swapped_sides_are_noticed(joints):
    found = np.zeros((33, 2))
    found[list(pose_metrics.LANDMARKS)] = joints[list(pose_metrics.JOINTS), :2]
    assert not pose_metrics.sides_swapped(found, joints[:, :2])
    mirrored = found.copy()
    mirrored[list(pose_metrics.LANDMARKS)] = found[MIRRORED_LANDMARKS][list(pose_metrics.LANDMARKS)]
    assert pose_metrics.sides_swapped(mirrored, joints[:, :2])


def test_landmark_errors(joints):
    found, face = np.zeros((33, 2)), np.arange(10.0).reshape(5, 2)
    found[list(pose_metrics.LANDMARKS)] = joints[list(pose_metrics.JOINTS), :2]
    found[list(pose_metrics.FACE_LANDMARKS)] = face + np.array([3, 4])
    np.testing.assert_allclose(pose_metrics.landmark_errors(found, joints[:, :2], face), [0] * 12 + [5] * 5, atol=1e-12)


def test_normal_error():
    def encode(vector):
        return np.full((4, 4, 3), np.rint(127.5 * (np.array(vector) + 1)), np.uint8)

    tilted = encode([np.sin(0.5), 0, np.cos(0.5)])
    everywhere = np.ones((4, 4), bool)
    assert pose_metrics.normal_error(encode([0, 0, 1]), tilted, everywhere) == pytest.approx(np.degrees(0.5), abs=0.5)
    assert pose_metrics.normal_error(tilted, tilted, ~everywhere) is None
