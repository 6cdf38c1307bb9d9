"""Errors of landmarks, masks, bodies and normal maps against the truth. Plain functions of arrays."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ag3d.core.landmarks import FACE_LANDMARKS, JOINT_PAIRS, MIRRORED_LANDMARKS

LANDMARKS, JOINTS = (tuple(int(point) for point in points) for points in zip(*JOINT_PAIRS, strict=True))


def landmark_errors(landmarks: np.ndarray, joints: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Pixels [17] between BlazePose's landmarks [33,2] and the true joints [24,2] and face landmarks [5,2].

    Joints are inside the body where the two definitions differ somewhat (shoulders, hips).
    """
    detected = landmarks[list(LANDMARKS + FACE_LANDMARKS)]
    true = np.concatenate([joints[list(JOINTS)], face])
    return np.linalg.norm(detected - true, axis=1)


def sides_swapped(landmarks: np.ndarray, joints: np.ndarray) -> bool:
    """Whether the landmarks fit the truth better with left and right exchanged."""
    as_detected, exchanged = (
        np.linalg.norm(points[list(LANDMARKS)] - joints[list(JOINTS)], axis=1).mean()
        for points in (landmarks, landmarks[MIRRORED_LANDMARKS])
    )
    return bool(exchanged < as_detected)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def boundary_error(mask: np.ndarray, true: np.ndarray) -> float | None:
    """Mean distance in pixels from the outline of either mask to the outline of the other; None where one is empty."""
    edges = [area & ~ndimage.binary_erosion(area, border_value=1) for area in (mask, true)]
    if not all(edge.any() for edge in edges):
        return None
    forth, back = (ndimage.distance_transform_edt(~b)[a].mean() for a, b in (edges, edges[::-1]))
    return float((forth + back) / 2)


def mpjpe(joints: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of joints [24,3], pelvis on pelvis; in the unit given."""
    return float(np.linalg.norm((joints - joints[0]) - (true - true[0]), axis=1).mean())


def pa_mpjpe(joints: np.ndarray, true: np.ndarray) -> float:
    """The same after the best similarity transform (Procrustes; Umeyama 1991)."""
    a, b = joints - joints.mean(0), true - true.mean(0)
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.sign(np.linalg.det(u @ vt))
    s[-1] *= sign
    u[:, -1] *= sign
    scale = s.sum() / (a**2).sum()
    return float(np.linalg.norm(scale * a @ (u @ vt) - b, axis=1).mean())


def rotation_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees between two rotations [3,3]."""
    return float(np.degrees(np.arccos(np.clip((np.trace(a.T @ b) - 1) / 2, -1, 1))))


def facing_angle(a: np.ndarray, b: np.ndarray) -> float:
    """Degrees, 0 to 180, between the directions that two bodies face, seen from above. Rotations [3,3], y down."""
    first, second = (np.arctan2(r[0, 2], -r[2, 2]) for r in (a, b))
    return float(np.degrees(abs(np.angle(np.exp(1j * (first - second))))))


def normal_error(normals: np.ndarray, true: np.ndarray, mask: np.ndarray) -> float | None:
    """Mean angle in degrees between two normal maps (uint8 [H,W,3]) on the mask; None where that is empty."""
    if not mask.any():
        return None
    a, b = (image[mask].astype(np.float64) / 127.5 - 1 for image in (normals, true))
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-8) for v in (a, b))
    return float(np.degrees(np.arccos(np.clip((a * b).sum(1), -1, 1))).mean())
