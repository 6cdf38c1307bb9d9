from __future__ import annotations

import numpy as np
import pytest
from support.figure import NEAR, Figure, draw

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.preprocessing.people.blazepose import BlazePose, anchors, iou, refine_by_heatmaps, weighted_nms

# landmark of BlazePose: joint of SMPL that lies near it


def pose_of(net: BlazePose, figure: Figure):
    return net.track(figure.rgb, net.detect(figure.rgb)[0].region())


@pytest.mark.parametrize("turn", [0.0, 0.8, np.pi])
def test_landmarks_lie_on_the_joints(blazepose: BlazePose, open_body: Body, turn: float) -> None:
    """Left and right included: seen from behind they change sides."""
    figure = draw(open_body, turn=turn, seed=3)
    pose = pose_of(blazepose, figure)
    error = np.linalg.norm(pose.landmarks_2d[list(NEAR)] - figure.joints[list(NEAR.values())], axis=1)
    assert pose.score > 0.9
    assert error.mean() / (0.8 * 640) < 0.03
    assert pose.visibility[list(NEAR)].min() > 0.5


def test_landmarks_3d_are_metres_with_y_down(blazepose: BlazePose, standing: Figure) -> None:
    points = pose_of(blazepose, standing).landmarks_3d
    assert np.abs(points[[23, 24]].mean(axis=0)).max() < 0.02
    assert points[11, 0] > 0.1 > -0.1 > points[12, 0]  # the left shoulder is on the picture's right
    assert points[[27, 28], 1].min() > 0.5 > -0.3 > points[[11, 12], 1].max()
    assert points[0, 2] < 0  # the nose is nearer than the hips


def test_mask_covers_the_person(blazepose: BlazePose, standing: Figure) -> None:
    pose = pose_of(blazepose, standing)
    found = pose.region.paste(blazepose.segment(standing.rgb, pose.region), standing.mask.shape) > 0.5
    assert (found & standing.mask).sum() / (found | standing.mask).sum() > 0.93


def test_reducing_the_photograph_moves_nothing(blazepose: BlazePose, open_body: Body) -> None:
    small, large = draw(open_body, 640, 448), draw(open_body, 1920, 1344)
    a, b = pose_of(blazepose, small), pose_of(blazepose, large)
    assert np.abs(a.landmarks_2d * 3 - b.landmarks_2d)[list(NEAR)].mean() / 1920 < 0.006


def test_anchors_are_cell_centres() -> None:
    places = anchors()
    assert places.shape == (2254, 2)
    np.testing.assert_allclose(places[0], [0.5 / 28, 0.5 / 28])
    np.testing.assert_allclose(places[2], [1.5 / 28, 0.5 / 28])
    np.testing.assert_allclose(places[-1], [6.5 / 7, 6.5 / 7])


def test_overlapping_boxes_merge_and_others_stay() -> None:
    def box(x: float) -> list[list[float]]:
        return [[x, 0], [x + 10, 10], [x + 5, 20], [x + 5, 0]]

    points = np.array([box(0), box(1), box(8)], float)
    found = weighted_nms(points, np.array([0.9, 0.6, 0.7]))
    assert [round(d.score, 1) for d in found] == [0.9, 0.7]
    assert found[0].box[0] == pytest.approx(0.6 / 1.5)
    assert iou(np.array([0, 0, 2, 2.0]), np.array([[1, 0, 3, 2.0], [5, 5, 6, 6]])).tolist() == pytest.approx([1 / 3, 0])


def test_refinement_follows_a_sure_heatmap_only() -> None:
    heat = np.full((64, 64, 2), -20.0)
    heat[21, 11, 0], heat[21, 11, 1] = 20.0, -1.0
    points = np.array([[40.0, 80.0], [40.0, 80.0]])
    np.testing.assert_allclose(refine_by_heatmaps(points, heat), [[44, 84], [40, 80]])


def test_missing_and_damaged_models_are_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"ag3d\.preprocessing\.models"):
        BlazePose(tmp_path)
    (tmp_path / "pose_detection.tflite").write_bytes(b"no model")
    with pytest.raises(UserError, match="not a whole model"):
        BlazePose(tmp_path)
