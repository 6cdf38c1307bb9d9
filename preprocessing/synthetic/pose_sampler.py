"""Poses as fashion photographs have them: standing, walking, hands on hips, an arm raised, looking about.

Angles are about the axes of the body's zero pose (x to the subject's left, y up, z ahead; arms out): a left arm comes
down by a negative turn about z, a leg swings forward by a negative turn about x, a knee bends by a positive one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ag3d.model.body.body import JOINTS, Body
from ag3d.model.body.lbs import forward_kinematics
from ag3d.model.body.rotation import axis_angle_to_matrix

KINDS = {"standing": 0.38, "contrapposto": 0.22, "walking": 0.24, "hip": 0.1, "raised": 0.06}
_INDEX = {name: number for number, name in enumerate(JOINTS)}
_FEET = [_INDEX[name] for name in ("left_ankle", "right_ankle", "left_foot", "right_foot")]


@dataclass
class Pose:
    kind: str
    body_pose: np.ndarray  # [23,3] axis-angle
    yaw: float  # radians; 0 faces the camera, positive turns the subject's front to the image's right
    lean: np.ndarray  # [3] small turn of the whole body before the yaw


def _turn(axes: str, *angles: float) -> Rotation:
    return Rotation.from_euler(axes, angles)


def _arm(
    pose: dict[str, Rotation],
    side: str,
    down: float,
    swing: float,
    twist: float,
    elbow: float,
    rng: np.random.Generator,
) -> None:
    """Angles in radians: `down` from the horizontal, `swing` forward, `twist` of the upper arm, flexion of the elbow."""
    sign = 1.0 if side == "left" else -1.0
    upper = _turn("x", -swing) * _turn("z", -sign * down) * _turn("x", twist)
    pose[f"{side}_collar"] = _turn("z", -sign * 0.12 * down) * _turn("y", -sign * rng.normal(0, 0.03))
    pose[f"{side}_shoulder"] = pose[f"{side}_collar"].inv() * upper
    pose[f"{side}_elbow"] = _turn("y", -sign * elbow)
    pose[f"{side}_wrist"] = _turn(
        "zyx", -sign * rng.normal(0.08, 0.1), -sign * rng.normal(0, 0.08), rng.normal(0, 0.15)
    )
    pose[f"{side}_hand"] = _turn("z", -sign * rng.uniform(0.1, 0.45))


def _relaxed_arm(pose: dict[str, Rotation], side: str, rng: np.random.Generator, swing: float | None = None) -> None:
    swing = rng.normal(0.0, 0.12) if swing is None else swing
    down = np.clip(rng.normal(1.27, 0.07), 1.05, 1.38)
    elbow = max(0.06, rng.normal(0.3, 0.14) + 0.5 * max(swing, 0.0))
    _arm(pose, side, down, swing, rng.normal(0.25, 0.15), elbow, rng)


def _hand_on_hip(pose: dict[str, Rotation], side: str, rng: np.random.Generator) -> None:
    sign = 1.0 if side == "left" else -1.0
    _arm(pose, side, rng.normal(0.72, 0.05), -0.4, rng.normal(1.35, 0.08), rng.normal(1.62, 0.08), rng)
    pose[f"{side}_wrist"] = _turn("z", sign * 0.3)


def _raised_arm(pose: dict[str, Rotation], side: str, rng: np.random.Generator) -> None:
    """Waving, holding the arm out, or touching the hair."""
    style = rng.integers(3)
    if style == 0:
        _arm(pose, side, rng.normal(-0.35, 0.2), 0.0, -1.5, rng.normal(1.0, 0.2), rng)
    elif style == 1:
        _arm(pose, side, rng.normal(0.15, 0.15), 0.0, 0.0, rng.normal(0.3, 0.1), rng)
    else:
        _arm(pose, side, rng.normal(-0.25, 0.1), 0.0, -1.35, rng.normal(1.95, 0.1), rng)


def _leg(
    pose: dict[str, Rotation], side: str, flex: float, abduction: float, knee: float, out: float, ankle: float = 0.0
) -> None:
    """`flex` forward at the hip, `abduction` outward, `knee` flexion, `out`-turn of the foot; the sole stays level with ankle 0."""
    sign = 1.0 if side == "left" else -1.0
    hip = _turn("z", sign * abduction) * _turn("x", -flex) * _turn("y", sign * out)
    pose[f"{side}_hip"] = hip
    pose[f"{side}_knee"] = _turn("x", knee)
    level = (hip * _turn("x", knee)).inv() * _turn("y", sign * out)
    pose[f"{side}_ankle"] = level * _turn("x", ankle)


def _torso(pose: dict[str, Rotation], rng: np.random.Generator, twist: float = 0.0, side_bend: float = 0.0) -> None:
    for name, share in (("spine1", 0.3), ("spine2", 0.35), ("spine3", 0.35)):
        y, x, z = twist + rng.normal(0, 0.05), rng.normal(0.02, 0.05), side_bend + rng.normal(0, 0.03)
        pose[name] = _turn("yxz", share * y, share * x, share * z)
    turn, nod, tilt = rng.normal(0, 0.22), rng.normal(0.03, 0.09), rng.normal(0, 0.05)
    pose["neck"] = _turn("yxz", 0.45 * turn, 0.4 * nod, 0.4 * tilt)
    pose["head"] = _turn("yxz", 0.55 * turn, 0.6 * nod, 0.6 * tilt)


def _legs_standing(pose: dict[str, Rotation], rng: np.random.Generator) -> None:
    abduction, fore = rng.normal(0.0, 0.05), rng.normal(0.0, 0.05)
    for side, sign in (("left", 1), ("right", -1)):
        _leg(pose, side, sign * fore + 0.02, abduction, max(0.02, rng.normal(0.05, 0.02)), rng.normal(0.12, 0.08))


def _legs_contrapposto(pose: dict[str, Rotation], rng: np.random.Generator) -> tuple[str, float]:
    free = "left" if rng.random() < 0.5 else "right"
    stance = "right" if free == "left" else "left"
    _leg(pose, stance, 0.0, -0.02, 0.02, rng.normal(0.1, 0.06))
    knee = rng.uniform(0.3, 0.6)
    _leg(pose, free, 0.5 * knee + rng.uniform(0.0, 0.12), rng.uniform(0.04, 0.12), knee, rng.normal(0.25, 0.1))
    return free, knee


def _legs_walking(pose: dict[str, Rotation], rng: np.random.Generator) -> float:
    ahead, behind = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    stride = rng.uniform(0.18, 0.42)
    _leg(pose, ahead, stride, -0.03, 0.08, rng.normal(0.06, 0.04), -0.25 * stride)
    _leg(pose, behind, -0.75 * stride, -0.03, rng.uniform(0.2, 0.5), rng.normal(0.06, 0.04), 1.0 * stride)
    return stride if ahead == "left" else -stride


def sample_pose(rng: np.random.Generator) -> Pose:
    """One pose. Half of them face the camera within 45 degrees; sides and backs make up the rest."""
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    pose: dict[str, Rotation] = {}
    lean = np.zeros(3)
    if kind == "walking":
        stride = _legs_walking(pose, rng)
        _torso(pose, rng, twist=0.35 * stride)
        _relaxed_arm(pose, "left", rng, swing=-0.9 * stride + rng.normal(0, 0.05))
        _relaxed_arm(pose, "right", rng, swing=0.9 * stride + rng.normal(0, 0.05))
    else:
        if kind in ("contrapposto", "hip"):
            free, knee = _legs_contrapposto(pose, rng)
            roll = 0.12 * knee * (1 if free == "right" else -1)
            lean[2] = -roll
            _torso(pose, rng, twist=rng.normal(0, 0.15), side_bend=1.3 * roll)
        else:
            _legs_standing(pose, rng)
            _torso(pose, rng, twist=rng.normal(0, 0.08))
        arms: list[Callable[[dict[str, Rotation], str, np.random.Generator], None]] = [_relaxed_arm, _relaxed_arm]
        if kind == "hip":
            arms[rng.integers(2)] = _hand_on_hip
            if rng.random() < 0.45:
                arms = [_hand_on_hip, _hand_on_hip]
        if kind == "raised":
            arms[rng.integers(2)] = _raised_arm
            if rng.random() < 0.3:
                arms = [_raised_arm, _raised_arm]
        for side, arm in zip(("left", "right"), arms, strict=True):
            arm(pose, side, rng)
    vectors = np.zeros((23, 3))
    for name, rotation in pose.items():
        vectors[_INDEX[name] - 1] = rotation.as_rotvec()
    return Pose(kind, vectors.astype(np.float32), _sample_yaw(rng), lean)


def _sample_yaw(rng: np.random.Generator) -> float:
    choice = rng.random()
    if choice < 0.52:
        return float(np.clip(rng.normal(0, np.radians(20)), -np.pi / 4, np.pi / 4))
    if choice < 0.75:
        return float(rng.choice([-1, 1]) * rng.uniform(np.pi / 4, 0.75 * np.pi))
    return float(rng.uniform(-np.pi, np.pi) if choice < 0.85 else np.pi + rng.normal(0, np.radians(25)))


def plant_feet(body: Body, betas: np.ndarray, pose: Pose) -> None:
    """Bend the knee of the higher foot less, or of the lower foot more, until both stand on one level (in place)."""
    trials = np.linspace(-0.6, 0.9, 31)
    best: tuple[float, np.ndarray] | None = None
    for side in ("left", "right"):
        candidates = np.repeat(pose.body_pose[None], len(trials), 0)
        hip, knee, ankle = (_INDEX[f"{side}_{name}"] - 1 for name in ("hip", "knee", "ankle"))
        hip_now, knee_now, ankle_now = (Rotation.from_rotvec(pose.body_pose[joint]) for joint in (hip, knee, ankle))
        now = float(np.linalg.norm(pose.body_pose[knee]))
        change = np.maximum(trials, 0.02 - now)
        bend = Rotation.from_euler("x", (now + change)[:, None])
        hip_new = Rotation.from_euler("x", -0.5 * change[:, None]) * hip_now
        candidates[:, hip], candidates[:, knee] = hip_new.as_rotvec(), bend.as_rotvec()
        candidates[:, ankle] = ((hip_new * bend).inv() * (hip_now * knee_now * ankle_now)).as_rotvec()
        lowest = _sole_heights(body, betas, candidates, pose.lean)
        cost = np.abs(lowest[:, 0] - lowest[:, 1]) + 0.004 * np.abs(trials)
        pick = int(cost.argmin())
        if best is None or cost[pick] < best[0]:
            best = (float(cost[pick]), candidates[pick])
    assert best is not None
    pose.body_pose = best[1]


def _sole_heights(body: Body, betas: np.ndarray, body_pose: np.ndarray, lean: np.ndarray) -> np.ndarray:
    """Heights [n,2] of the left and the right sole for poses [n,23,3], from the ankle and the ball of the foot."""
    count = len(body_pose)
    lean_all = np.repeat(lean[None, None], count, 0)
    rotations = axis_angle_to_matrix(torch.as_tensor(np.concatenate([lean_all, body_pose], 1)).float())
    rest = body.rest_joints(torch.as_tensor(betas).float()[None]).expand(count, -1, -1)
    _, joints = forward_kinematics(rotations, rest, body.parents)
    height = joints[:, _FEET, 1].numpy() - np.array([0.075, 0.075, 0.025, 0.025])
    return np.stack([height[:, [0, 2]].min(1), height[:, [1, 3]].min(1)], 1)
