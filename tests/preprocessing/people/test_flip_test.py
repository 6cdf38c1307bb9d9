"""The second, mirrored look: the same person, better known; contradictions are settled by the face, or told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.figure import NEAR, Figure, draw

from ag3d.config.data import People
from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.preprocessing.people import flip_test
from ag3d.preprocessing.people.blazepose import MIRROR, BlazePose, FaceDetector, Pose
from ag3d.preprocessing.people.person_search import find_people


class Stub(FaceDetector):
    """Scores every face alike."""

    def __init__(self, value: float) -> None:
        self.value = value

    def score(self, rgb, region) -> float:
        return self.value


@pytest.fixture(scope="module")
def faces(blazepose_folder: Path) -> FaceDetector:
    return FaceDetector(blazepose_folder)


def first(net: BlazePose, figure: Figure) -> Pose:
    return find_people(net, figure.rgb, 0.5).people[0]


def test_a_mirror_exchanges_the_sides_and_twice_is_none() -> None:
    assert [MIRROR[k] for k in MIRROR] == list(range(39))
    assert (MIRROR[11], MIRROR[28], MIRROR[0], MIRROR[7], MIRROR[33]) == (12, 27, 0, 8, 33)


@pytest.mark.parametrize("turn", [0.0, 0.9, np.pi])
def test_both_looks_see_the_same_person(blazepose: BlazePose, open_body: Body, turn: float) -> None:
    figure = draw(open_body, turn=turn, seed=3)
    pose = first(blazepose, figure)
    other = blazepose.predict(figure.rgb, pose.region, mirrored=True)
    for seen in (other, flip_test.mean_pose(pose, other)):
        error = np.linalg.norm(seen.landmarks_2d[list(NEAR)] - figure.joints[list(NEAR.values())], axis=1)
        assert error.mean() / (0.8 * 640) < 0.03
    assert np.abs(pose.landmarks_3d - other.landmarks_3d)[list(NEAR)].mean() < 0.06
    assert ((pose.mask > 0.5) == (other.mask > 0.5)).mean() > 0.97


def test_where_somebody_faces(blazepose: BlazePose, open_body: Body) -> None:
    towards, away = (first(blazepose, draw(open_body, turn=turn, seed=3)) for turn in (0.0, np.pi))
    assert abs(flip_test.facing(towards)) < 40
    assert abs(flip_test.facing(away)) > 140


def test_a_face_is_seen_from_the_front_only(blazepose: BlazePose, faces: FaceDetector, open_body: Body) -> None:
    pictures = [draw(open_body, 1280, 896, turn=turn, seed=3) for turn in (0.0, np.pi)]
    front, back = (faces.score(f.rgb, flip_test.head_region(first(blazepose, f))) for f in pictures)
    assert back < People().face_reject_below
    assert front > back + 0.1


def test_looks_that_agree_are_averaged(blazepose: BlazePose, standing: Figure) -> None:
    pose = first(blazepose, standing)
    found, score, doubt = flip_test.flip_test(blazepose, Stub(0.9), standing.rgb, pose, People())
    assert (score, doubt) == (0.9, False)
    other = blazepose.predict(standing.rgb, pose.region, mirrored=True)
    np.testing.assert_allclose(found.landmarks_2d, (pose.landmarks_2d + other.landmarks_2d) / 2)


@pytest.mark.parametrize(("face", "status"), [(0.95, "front"), (0.1, "back"), (0.7, "doubt")])
def test_the_face_settles_a_contradiction(blazepose: BlazePose, standing: Figure, face: float, status: str) -> None:
    """A first look that takes front for back, as happens with people seen from behind the other way round."""
    pose = first(blazepose, standing)
    turned = dataclasses.replace(
        pose,
        landmarks_2d=pose.landmarks_2d[MIRROR[:33]],
        landmarks_3d=pose.landmarks_3d[MIRROR[:33]] * np.array([1, 1, -1], np.float32),
    )
    found, score, doubt = flip_test.flip_test(blazepose, Stub(face), standing.rgb, turned, People())
    assert score == face
    assert doubt == (status == "doubt")
    if status != "doubt":
        assert (abs(flip_test.facing(found)) < 90) == (status == "front")


@pytest.mark.parametrize(
    ("turn", "face", "doubt"), [(0.0, 0.2, True), (0.0, 0.7, False), (np.pi, 0.9, True), (np.pi, 0.7, False)]
)
def test_a_face_where_none_can_be_and_none_where_one_should_be(
    blazepose: BlazePose, open_body: Body, turn: float, face: float, doubt: bool
) -> None:
    figure = draw(open_body, turn=turn, seed=3)
    assert flip_test.flip_test(blazepose, Stub(face), figure.rgb, first(blazepose, figure), People())[2] == doubt


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="face_detection_short_range"):
        FaceDetector(tmp_path)
