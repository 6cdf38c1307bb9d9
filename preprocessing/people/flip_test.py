"""The flip test: landmarks once more from the mirrored picture, which are better together, and whether front and back can be
told apart.

From far away, a body and its mirror image in depth look the same; BlazePose tells them apart by what it sees, and where it
is mistaken it rarely is in both pictures.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ag3d.config.data import People
from ag3d.core import landmarks
from ag3d.preprocessing.people.blazepose import BlazePose, FaceDetector, Pose
from ag3d.preprocessing.people.rotated_box import RotatedBox

FRONT_BACK_CONTRADICTION = (
    75.0  # degrees between the directions that a person faces in two passes, from which on they differ
)
FRONT_BELOW, BACK_ABOVE = 60.0, 120.0  # degrees within which a face should be seen, and beyond which none
HEAD_SIDE = 0.7  # side of the square in which a face is sought, relative to hips to shoulders (about half a metre)


def flip_test(
    net: BlazePose, faces: FaceDetector, rgb: np.ndarray, first: Pose, settings: People
) -> tuple[Pose, float, bool]:
    """The mean of both passes, or the one that the face speaks for where they contradict each other; the score of the face;
    and whether front and back may still be confused."""
    face = faces.score(rgb, head_region(first))
    second = net.predict(rgb, first.region, mirrored=True)
    if second.score < 0.5 * first.score:
        return first, face, _contradicts(face, first, settings)
    if abs((facing(first) - facing(second) + 180) % 360 - 180) < FRONT_BACK_CONTRADICTION:
        average = mean_pose(first, second)
        return average, face, _contradicts(face, average, settings)
    towards, away = sorted((first, second), key=lambda pose: abs(facing(pose)))
    return towards if face >= settings.min_face else away, face, settings.face_reject_below < face < settings.min_face


def _contradicts(face: float, pose: Pose, settings: People) -> bool:
    """A person seen from the front without a face, or from behind with one."""
    turned = abs(facing(pose))
    return (turned < FRONT_BELOW and face <= settings.face_reject_below) or (
        turned > BACK_ABOVE and face >= settings.min_face
    )


def facing(pose: Pose) -> float:
    """Degrees: 0 to the camera, ±180 away from it."""
    x, _, z = (pose.landmarks_3d[[11, 23]] - pose.landmarks_3d[[12, 24]]).sum(axis=0)
    return float(np.degrees(np.arctan2(z, x)))


def mean_pose(a: Pose, b: Pose) -> Pose:
    """The mean of two passes over one region; the mask of the first."""
    names = ("landmarks_2d", "landmarks_3d", "visibility", "presence")
    return dataclasses.replace(a, **{name: (getattr(a, name) + getattr(b, name)) / 2 for name in names})


def head_region(pose: Pose) -> RotatedBox:
    """The upright square around the head."""
    points = pose.landmarks_2d
    trunk = float(np.linalg.norm(points[landmarks.SHOULDERS].mean(axis=0) - points[landmarks.HIPS].mean(axis=0)))
    x, y = points[landmarks.HEAD].mean(axis=0)
    side = 2 * trunk
    return RotatedBox(float(x), float(y) - 0.03 * side, HEAD_SIDE * side)
