"""The two skeletons of this pipeline, and which of their points mean the same place. Left and right are the subject's."""

from __future__ import annotations

from enum import IntEnum


class Landmark(IntEnum):
    """BlazePose's 33 landmarks."""

    NOSE = 0
    LEFT_EYE_INNER = 1
    LEFT_EYE = 2
    LEFT_EYE_OUTER = 3
    RIGHT_EYE_INNER = 4
    RIGHT_EYE = 5
    RIGHT_EYE_OUTER = 6
    LEFT_EAR = 7
    RIGHT_EAR = 8
    LEFT_MOUTH = 9
    RIGHT_MOUTH = 10
    LEFT_SHOULDER = 11
    RIGHT_SHOULDER = 12
    LEFT_ELBOW = 13
    RIGHT_ELBOW = 14
    LEFT_WRIST = 15
    RIGHT_WRIST = 16
    LEFT_PINKY = 17
    RIGHT_PINKY = 18
    LEFT_INDEX = 19
    RIGHT_INDEX = 20
    LEFT_THUMB = 21
    RIGHT_THUMB = 22
    LEFT_HIP = 23
    RIGHT_HIP = 24
    LEFT_KNEE = 25
    RIGHT_KNEE = 26
    LEFT_ANKLE = 27
    RIGHT_ANKLE = 28
    LEFT_HEEL = 29
    RIGHT_HEEL = 30
    LEFT_TOE = 31
    RIGHT_TOE = 32


class Joint(IntEnum):
    """SMPL's 24 joints; the first is the root."""

    PELVIS = 0
    LEFT_HIP = 1
    RIGHT_HIP = 2
    SPINE1 = 3
    LEFT_KNEE = 4
    RIGHT_KNEE = 5
    SPINE2 = 6
    LEFT_ANKLE = 7
    RIGHT_ANKLE = 8
    SPINE3 = 9
    LEFT_FOOT = 10
    RIGHT_FOOT = 11
    NECK = 12
    LEFT_COLLAR = 13
    RIGHT_COLLAR = 14
    HEAD = 15
    LEFT_SHOULDER = 16
    RIGHT_SHOULDER = 17
    LEFT_ELBOW = 18
    RIGHT_ELBOW = 19
    LEFT_WRIST = 20
    RIGHT_WRIST = 21
    LEFT_HAND = 22
    RIGHT_HAND = 23


def _mirrored(skeleton: type[IntEnum]) -> list[int]:
    """Of each point the one that it is in a mirror."""
    swap = {"LEFT": "RIGHT", "RIGHT": "LEFT"}
    names = ("_".join(swap.get(word, word) for word in point.name.split("_")) for point in skeleton)
    return [int(skeleton[name]) for name in names]


MIRRORED_LANDMARKS, MIRRORED_JOINTS = _mirrored(Landmark), _mirrored(Joint)
_LIMBS = [
    f"{side}_{name}" for name in ("SHOULDER", "ELBOW", "WRIST", "HIP", "KNEE", "ANKLE") for side in ("LEFT", "RIGHT")
]
# (landmark, joint) of the same place: shoulders, elbows, wrists, hips, knees, ankles, each the left one first.
JOINT_PAIRS = tuple((Landmark[name], Joint[name]) for name in _LIMBS)
# The landmarks of a body's five face points (Body.landmark_vertices), in their order.
FACE_LANDMARKS = (Landmark.NOSE, Landmark.RIGHT_EYE, Landmark.LEFT_EYE, Landmark.RIGHT_EAR, Landmark.LEFT_EAR)

# Parts of a person by their landmarks.
HEAD = [int(Landmark[name]) for name in ("NOSE", "LEFT_EYE", "RIGHT_EYE", "LEFT_EAR", "RIGHT_EAR")]
EARS, SHOULDERS, HIPS, KNEES, ANKLES, HEELS, TOES = (
    [int(Landmark[f"{side}_{name}"]) for side in ("LEFT", "RIGHT")]
    for name in ("EAR", "SHOULDER", "HIP", "KNEE", "ANKLE", "HEEL", "TOE")
)
LIMBS = [int(landmark) for landmark, _ in JOINT_PAIRS]
TORSO = [int(Landmark.NOSE), *SHOULDERS, *HIPS]
