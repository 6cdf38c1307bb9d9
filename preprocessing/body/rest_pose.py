"""From MakeHuman's rest pose to SMPL's zero pose: arms straight out, palms down, legs straight, feet ahead."""

from __future__ import annotations

import numpy as np

from ag3d.model.body.body import JOINTS, PARENTS


def zero_pose(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, across: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Skin vertices [n,3] and joints [24,3] into the zero pose.

    weights: [n,24]; across: for "left" and "right", the direction from little finger to index finger.
    """
    rotations = np.repeat(np.eye(3)[None], 24, axis=0)  # of each bone in the world
    for side, sign in (("left", 1.0), ("right", -1.0)):
        hip, knee, ankle, foot, shoulder, elbow, wrist, hand = (
            JOINTS.index(f"{side}_{name}")
            for name in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist", "hand")
        )
        outwards = np.array([sign, 0.0, 0.0])
        rotations[shoulder] = _turn(joints[elbow] - joints[shoulder], outwards)
        rotations[elbow] = _turn(joints[wrist] - joints[elbow], outwards)
        thumb_ahead = _frame(outwards, np.array([0.0, 0.0, 1.0]))
        rotations[wrist] = rotations[hand] = thumb_ahead @ _frame(joints[hand] - joints[wrist], across[side]).T
        rotations[hip] = _turn(joints[knee] - joints[hip], np.array([sign * np.sin(np.radians(4)), -1.0, 0.0]))
        rotations[knee] = _turn(joints[ankle] - joints[knee], np.array([0.0, -1.0, -0.05]))
        ahead = joints[foot] - joints[ankle]
        turn = sign * np.radians(6) - np.arctan2(ahead[0], ahead[2])
        rotations[ankle] = rotations[foot] = np.array(
            [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        )
    placed = joints.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            placed[joint] = placed[parent] + rotations[parent] @ (joints[joint] - joints[parent])
    shift = placed - np.einsum("jab,jb->ja", rotations, joints)
    blended = (weights @ rotations.reshape(24, 9)).reshape(-1, 3, 3)
    return np.einsum("vab,vb->va", blended, vertices) + weights @ shift, placed


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation from one direction to another."""
    a, b = start / np.linalg.norm(start), end / np.linalg.norm(end)
    x, y, z = np.cross(a, b)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + skew + skew @ skew / (1 + a @ b)


def _frame(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x = x / np.linalg.norm(x)
    y = y - x * (x @ y)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)
