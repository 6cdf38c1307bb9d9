"""Built-in motions, made from formulas, in AMASS's file layout."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ag3d.model.avatars.motion import Motion, motion_from
from ag3d.model.body.body import JOINTS
from ag3d.model.body.rotation import compose_axis_angles

_THIGH, _SHIN = 0.40, 0.42  # metres
_HEEL, _BALL, _SOLE = -0.06, 0.12, 0.08  # metres: of the sole, in front of the ankle and below it
_PELVIS = 0.02  # metres of `trans` above the hips
_STRIDE = 1.32  # metres of two steps: with it, the foot on the ground stays where it is
_UPRIGHT = (np.pi / 2, 0.0, 0.0)  # AMASS's world has z up


def walking(cycles: int = 2, fps: int = 30, period: float = 1.1) -> dict[str, np.ndarray]:
    """A walk that repeats seamlessly: poses [F,156] (SMPL-H, resting hands), trans [F,3] metres, betas, mocap_framerate, gender.

    period: seconds of two steps. The body goes along -y, where an upright body faces; the ground is near z = 0.
    """
    frames = round(cycles * period * fps)
    phase = 2 * np.pi * cycles * np.arange(frames) / frames
    pose = np.zeros((frames, 52, 3))
    depths = []
    for side, shift in (("left", 0.0), ("right", np.pi)):
        sign = 1.0 if side == "left" else -1.0
        hip, knee, ankle = _leg(phase + shift)
        depths.append(_depth(hip, knee, ankle))
        swing = np.sin(phase + shift)
        pose[:, JOINTS.index(f"{side}_hip"), 0] = -hip
        pose[:, JOINTS.index(f"{side}_knee"), 0] = knee
        pose[:, JOINTS.index(f"{side}_ankle"), 0] = ankle
        arm = np.zeros((frames, 3))
        arm[:, 2] = -sign * 1.28
        forwards = np.zeros((frames, 3))
        forwards[:, 0] = 0.38 * swing  # against the leg of the same side
        pose[:, JOINTS.index(f"{side}_shoulder")] = compose_axis_angles(
            torch.from_numpy(forwards), torch.from_numpy(arm)
        ).numpy()
        pose[:, JOINTS.index(f"{side}_elbow"), 1] = -sign * (0.32 - 0.18 * swing)
    # The pelvis turns with the legs and sinks where no foot stands; the chest turns with the arms.
    pelvis = np.stack([np.full(frames, 0.02), -0.07 * np.sin(phase), -0.03 * np.cos(phase)], axis=1)
    upright = torch.tensor([_UPRIGHT], dtype=torch.float64).expand(frames, 3)
    pose[:, 0] = compose_axis_angles(upright, torch.from_numpy(pelvis)).numpy()
    pose[:, JOINTS.index("spine2"), 1] = 0.05 * np.sin(phase)
    pose[:, JOINTS.index("spine3"), 1] = 0.06 * np.sin(phase)
    pose[:, JOINTS.index("neck"), 1] = -0.04 * np.sin(phase)
    # The hips are as high above the ground as the longer leg reaches down, and over the foot that stands.
    height = np.maximum(*depths)
    trans = np.stack([-0.012 * np.cos(phase), -_STRIDE * phase / (2 * np.pi), height + _PELVIS], axis=1)
    return _file(pose, trans, fps)


def _leg(phase: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Angles of the hip (forwards), knee (bent) and ankle (toes down); the leg swings forwards about phase 0.

    The numbers are the least sliding of the lower foot among curves of this form.
    """
    hip = 0.01 + 0.35 * np.sin(phase) + 0.11 * np.sin(2 * phase + 0.25)
    swinging, carrying = np.cos(phase + 0.19).clip(0), np.cos(phase + 2.61).clip(0)
    knee = 0.11 + 0.86 * swinging**2 + 0.20 * carrying**2
    return hip, knee, 0.12 + 0.30 * (hip - knee)


def _depth(hip: np.ndarray, knee: np.ndarray, ankle: np.ndarray) -> np.ndarray:
    """How far below the hip the sole is, metres."""
    shin, foot = hip - knee, hip - knee - ankle
    sole = np.maximum(*(_SOLE * np.cos(foot) - forwards * np.sin(foot) for forwards in (_HEEL, _BALL)))
    return _THIGH * np.cos(hip) + _SHIN * np.cos(shin) + sole


def waving(frames: int = 60, fps: int = 30) -> dict[str, np.ndarray]:
    """Standing and waving with the right hand; repeats seamlessly."""
    phase = 2 * np.pi * np.arange(frames) / frames
    pose = np.zeros((frames, 52, 3))
    pose[:, 0] = _UPRIGHT
    pose[:, JOINTS.index("left_shoulder"), 2] = -1.25
    pose[:, JOINTS.index("right_shoulder"), 2] = 0.35
    pose[:, JOINTS.index("right_elbow"), 2] = -1.5 + 0.35 * np.sin(2 * phase)
    pose[:, JOINTS.index("head"), 1] = 0.1 * np.sin(phase)
    return _file(pose, np.tile([0.0, 0.0, _THIGH + _SHIN + _SOLE + _PELVIS], (frames, 1)), fps)


def _file(pose: np.ndarray, trans: np.ndarray, fps: int) -> dict[str, np.ndarray]:
    return {
        "poses": pose.reshape(len(pose), -1).astype(np.float64),
        "trans": trans.astype(np.float64),
        "betas": np.zeros(16),
        "mocap_framerate": np.array(float(fps)),
        "gender": np.array("neutral"),
    }


BUILT_IN: dict[str, Callable[..., dict[str, np.ndarray]]] = {"walk": walking, "wave": waving}


def built_in(name: str) -> Motion:
    """The motion of that name in BUILT_IN."""
    return motion_from(BUILT_IN[name](), name)
