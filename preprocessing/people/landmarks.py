"""BlazePose's 33 landmarks by name, and what they tell about how much of a person is in the picture."""

from __future__ import annotations

import numpy as np

from ag3d.preprocessing.people.blazepose import Pose

HEAD = [0, 2, 5, 7, 8]  # nose, eyes, ears
SHOULDERS, HIPS = [11, 12], [23, 24]
CORE = [0, 11, 12, 23, 24]
JOINTS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
LEGS = ((27, 29, 31), (28, 30, 32))  # ankle, heel, toe of the left and the right foot
CROWN = 0.55  # from the ears up to the crown, relative to shoulders to ears; anthropometry of adults
BONES = (
    *((11, 12), (11, 13), (13, 15), (12, 14), (14, 16), (11, 23), (12, 24), (23, 24)),
    *((23, 25), (25, 27), (24, 26), (26, 28), (27, 31), (28, 32)),
)


def box(pose: Pose, shape: tuple[int, ...]) -> np.ndarray:
    """The person's box [4] (x0, y0, x1, y1) in a photograph of `shape` (height, width): mask and sure landmarks."""
    rows, columns = np.nonzero(pose.mask > 0.5)
    inside = pose.region.to_photo(np.stack([columns + 0.5, rows + 0.5], axis=1), len(pose.mask))
    points = np.concatenate([inside, pose.landmarks_2d[JOINTS]])
    limits = np.array([shape[1], shape[0]])
    return np.concatenate([np.clip(points.min(axis=0), 0, limits), np.clip(points.max(axis=0), 0, limits)])


def out_of_view(pose: Pose, shape: tuple[int, ...], min_visibility: float) -> tuple[str, float] | None:
    """Why the person is not in full view, with the measured value; None if they are.

    Values: how far a point lies outside the photograph (share of the region's side), or a visibility.
    """
    height, width = shape[:2]
    limits = np.array([width, height], np.float64)

    def beyond(points: np.ndarray) -> np.ndarray:
        return np.maximum(-points, points - limits).max(axis=1) / pose.following.side

    ears, shoulders = pose.landmarks_2d[[7, 8]].mean(axis=0), pose.landmarks_2d[SHOULDERS].mean(axis=0)
    crown = ears + CROWN * (ears - shoulders)
    if (out := float(beyond(np.stack([crown, *pose.landmarks_2d[HEAD]])).max())) > 0.02:
        return "not in full view: the head is outside the photograph", out
    for name, points in (("knees", [25, 26]), ("ankles", [27, 28])):
        if (out := float(beyond(pose.landmarks_2d[points]).max())) > 0:
            return f"not in full view: cut off at the {name}", out
    if (out := float(beyond(pose.landmarks_2d[[29, 30, 31, 32]]).max())) > 0.02:
        return "not in full view: the feet are outside the photograph", out
    feet = [float(pose.visibility[list(leg)].max()) for leg in LEGS]
    if max(feet) < min_visibility:
        return "not in full view: the feet are hidden", max(feet)
    if (seen := float(pose.visibility[HEAD].max())) < min_visibility:
        return "not in full view: the head is hidden", seen
    return None
