"""A second look at a person, at the mirrored picture: better landmarks, and whether front and back can be told apart.

From far away, a body and its mirror image in depth look the same; BlazePose tells them apart by what it sees, and where it
is mistaken it rarely is in both pictures.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ag3d.config.data import People
from ag3d.preprocessing.people import landmarks
from ag3d.preprocessing.people.blazepose import BlazePose, Pose
from ag3d.preprocessing.people.face_detector import FaceDetector
from ag3d.preprocessing.people.rotated_box import Region

APART = (
    75.0  # degrees between the directions that a person faces in two looks, from which on they contradict each other
)
FRONT, BACK = 60.0, 120.0  # degrees within which a face should be seen, and beyond which none
HEAD = 0.7  # side of the square in which a face is sought, relative to hips to shoulders (about half a metre)


def again(
    net: BlazePose, faces: FaceDetector, rgb: np.ndarray, first: Pose, settings: People
) -> tuple[Pose, float, bool]:
    """The mean of both looks, or the one that the face speaks for where they contradict each other; the score of the face;
    and whether front and back may still be confused."""
    face = faces.score(rgb, head(first))
    second = net.look(rgb, first.region, mirrored=True)
    if second.score < 0.5 * first.score:
        return first, face, _contradicts(face, first, settings)
    if abs((facing(first) - facing(second) + 180) % 360 - 180) < APART:
        both = mean(first, second)
        return both, face, _contradicts(face, both, settings)
    towards, away = sorted((first, second), key=lambda pose: abs(facing(pose)))
    return towards if face >= settings.min_face else away, face, settings.max_no_face < face < settings.min_face


def _contradicts(face: float, pose: Pose, settings: People) -> bool:
    """A person seen from the front without a face, or from behind with one."""
    turned = abs(facing(pose))
    return (turned < FRONT and face <= settings.max_no_face) or (turned > BACK and face >= settings.min_face)


def facing(pose: Pose) -> float:
    """Degrees: 0 to the camera, ±180 away from it."""
    x, _, z = (pose.landmarks_3d[[11, 23]] - pose.landmarks_3d[[12, 24]]).sum(axis=0)
    return float(np.degrees(np.arctan2(z, x)))


def mean(a: Pose, b: Pose) -> Pose:
    """The mean of two looks at one region; the mask of the first."""
    names = ("landmarks_2d", "landmarks_3d", "visibility", "presence")
    return dataclasses.replace(a, **{name: (getattr(a, name) + getattr(b, name)) / 2 for name in names})


def head(pose: Pose) -> Region:
    """The upright square around the head."""
    points = pose.landmarks_2d
    trunk = float(np.linalg.norm(points[landmarks.SHOULDERS].mean(axis=0) - points[landmarks.HIPS].mean(axis=0)))
    x, y = points[landmarks.HEAD].mean(axis=0)
    side = 2 * trunk
    return Region(float(x), float(y) - 0.03 * side, HEAD * side)
