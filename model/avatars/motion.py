"""Motion files of AMASS's kinds, and the labels that show them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ag3d.core.bounded import open_regular, read_npy, read_npz
from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.model.body import label as labels
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle, slerp
from ag3d.model.safe_pickle.plain import read_plain

# What files call the same things, AMASS first; then MOYO, AIST++, and what comes from smplx's and others' tools.
WHOLE = ("poses", "smpl_poses", "fullpose", "full_pose")
ROOTS, BODIES = ("root_orient", "global_orient", "smpl_root_orient"), ("pose_body", "body_pose", "smpl_body_pose")
TRANSLATIONS = ("trans", "transl", "translation", "smpl_trans", "root_translation", "root_trans")
RATES = ("mocap_framerate", "mocap_frame_rate", "framerate", "frame_rate", "fps", "mocap_fps")
KEYS = (*WHOLE, *ROOTS, *BODIES, *TRANSLATIONS, *RATES, "smpl_scaling")
USUAL_RATE = 30.0
MOTION_X = 322  # root 3, body 63, hands 90, jaw 3, face 50 + 100, translation 3, betas 10
# AMASS's world (z up) to the label's (y down, z away); an upright body of AMASS that faces -y faces the camera.
TO_LABEL = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass
class Motion:
    """Poses over time, as AMASS has them."""

    global_orient: torch.Tensor  # [F,3] axis-angle, world z up
    body_pose: torch.Tensor  # [F,69]
    trans: torch.Tensor  # [F,3] metres
    fps: float

    def __len__(self) -> int:
        return len(self.body_pose)

    def resampled(self, fps: float) -> Motion:
        """The same motion with another number of frames per second, interpolated; the last frame holds to its end."""
        count, last = max(1, round(len(self) * fps / self.fps)), len(self) - 1
        time = torch.arange(count, dtype=torch.float64) * (self.fps / fps)
        first = time.floor().long()
        second, share = (first + 1).clamp_max(last), (time - first).float()
        turns = torch.cat([self.global_orient, self.body_pose], dim=1).unflatten(1, (-1, 3))
        turns = slerp(turns[first], turns[second], share[:, None, None])
        trans = torch.lerp(self.trans[first], self.trans[second], share[:, None])
        return Motion(turns[:, 0], turns[:, 1:].flatten(1), trans, fps)


def read_motion(path: str | Path) -> Motion:
    """The motion of a file: arrays of `motion_from` (.npz, or .pkl as AIST++ has them), or rows of Motion-X (.npy).

    Pickled entries of an .npz are never opened (AMASS's SMPL-X files have some that are not needed), and nothing in a .pkl
    is executed. Raises UserError naming the file and what is wrong.
    """
    path = Path(path)
    if path.suffix == ".npy":
        return motion_from(_motion_x(read_npy(path), path), str(path))
    if path.suffix == ".pkl":
        plain = read_plain(path, "a motion file of plain arrays")
        return motion_from({key: np.asarray(plain[key]) for key in KEYS if key in plain}, str(path))
    if path.suffix != ".npz":
        open_regular(path).close()
        raise UserError(f"{path} is not a motion file: .npz (AMASS and others), .npy (Motion-X) or .pkl (AIST++)")
    with read_npz(path) as archive:
        return motion_from(archive, str(path))


def _motion_x(rows: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    if rows.ndim != 2 or rows.shape[1] != MOTION_X:
        raise UserError(f"{path} is {list(rows.shape)}; a motion of Motion-X is [frames, {MOTION_X}]")
    return {"root_orient": rows[:, :3], "pose_body": rows[:, 3:66], "trans": rows[:, 309:312]}


def motion_from(data: Mapping[str, np.ndarray], name: str) -> Motion:
    """The motion in the arrays of a file, under the names that the table of KEYS lists; `name` is for messages.

    SMPL ([F,72]), SMPL-H ([F,156]), SMPL-X ([F,165]), their first 22 joints ([F,66]), [F,joints,3], or root and body apart.
    Without a frame rate, 30 per second are taken; without translation, the body stays in its place. What is assumed is
    logged. Raises UserError.
    """
    orient, body, turns = _turns(data, name)
    if len(body) == 0:
        raise UserError(f"{name} holds a motion of no frames")
    at = _first(data, TRANSLATIONS)
    trans = _numbers(data, at, name) if at else np.zeros((len(body), 3), np.float32)
    if at and trans.shape != (len(body), 3):
        raise UserError(f"{name}: '{at}' is {list(trans.shape)}, expected [{len(body)}, 3]")
    if "smpl_scaling" in data:  # of AIST++, whose places are in the scale of the cameras
        trans = trans / float(_one(data, "smpl_scaling", name, 1e-6, 1e6))
    for key, value in ((turns, orient), (turns, body), (at, trans)):
        bad = np.flatnonzero(~np.isfinite(value).all(axis=1))
        if len(bad):
            raise UserError(f"{name}: '{key}' is not a number in {len(bad)} frames, the first is {bad[0]}")
    rate = _first(data, RATES)
    fps = _one(data, rate, name, 1, 1000) if rate else USUAL_RATE
    rotation, pose, shift = (torch.from_numpy(np.ascontiguousarray(each)) for each in (orient, body, trans))
    motion = Motion(rotation, pose, shift, fps)
    assumed = [] if rate else [f"no frame rate is told: {USUAL_RATE:g} per second"]
    assumed += [] if at else ["no translation is told: the body stays in its place"]
    log.info("%s: %d frames; assumed: z up, metres%s", name, len(motion), "".join(f"; {each}" for each in assumed))
    up = axis_angle_to_matrix(motion.global_orient)[:, :, 1].mean(0)
    if abs(float(up[1])) > 0.7 > 2 * abs(float(up[2])):
        log.warning("%s: the bodies lie, as z is taken for up (AMASS); was the file written with y up?", name)
    return motion


def _turns(data: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """The root's rotations [F,3] and the joints' [F,69], axis-angle, and the entries that they come from."""
    whole, root, joints = (_first(data, keys) for keys in (WHOLE, ROOTS, BODIES))
    if whole:
        poses = _numbers(data, whole, name)
        if poses.ndim == 3 and poses.shape[2] == 3:
            poses = poses.reshape(len(poses), -1)
        if poses.ndim != 2 or poses.shape[1] not in (66, 72, 156, 165):
            raise UserError(
                f"{name}: '{whole}' is {list(poses.shape)}; expected [frames, 72 (SMPL), 156 (SMPL-H) or 165 (SMPL-X)]"
            )
        hands = {72: poses[:, 66:72], 156: np.concatenate([poses[:, 72:75], poses[:, 117:120]], axis=1)}.get(
            poses.shape[1], np.zeros((len(poses), 6), np.float32)
        )
        return poses[:, :3], np.concatenate([poses[:, 3:66], hands], axis=1), whole
    if not root or not joints:
        raise UserError(
            f"{name} holds no motion: neither 'poses' nor 'root_orient' and 'pose_body' (it has: {', '.join(sorted(data))})"
        )
    orient, body = _numbers(data, root, name), _numbers(data, joints, name)
    orient, body = (
        each.reshape(len(each), -1) if each.ndim == 3 and each.shape[2] == 3 else each for each in (orient, body)
    )
    if body.ndim != 2 or body.shape[1] not in (63, 69) or orient.shape != (len(body), 3):
        raise UserError(
            f"{name}: '{root}' is {list(orient.shape)} and '{joints}' {list(body.shape)}; expected [F,3] and [F,63]"
        )
    hands = np.zeros((len(body), 6), np.float32)
    return orient, np.concatenate([body[:, :63], hands], axis=1), f"{root}' or '{joints}"


def _first(data: Mapping[str, np.ndarray], keys: tuple[str, ...]) -> str:
    return next((key for key in keys if key in data), "")


def _one(data: Mapping[str, np.ndarray], key: str, name: str, low: float, high: float) -> float:
    value = data[key]
    if value.dtype.kind not in "fiu":
        raise UserError(f"{name}: '{key}' holds no numbers")
    if value.size != 1 or not low <= value.item() <= high:
        few = value.ravel()[:3].tolist()
        raise UserError(
            f"{name}: '{key}' is {few if value.size != 1 else few[0]}; expected one number, {low:g} to {high:g}"
        )
    return float(value.item())


def _numbers(data: Mapping[str, np.ndarray], key: str, name: str) -> np.ndarray:
    """float32. Raises UserError."""
    value = data[key]
    if value.dtype.kind not in "fiu":
        raise UserError(f"{name}: '{key}' holds no numbers")
    with np.errstate(over="ignore"):
        return value.astype(np.float32)


def motion_labels(motion: Motion, betas: torch.Tensor, follow: bool = True) -> torch.Tensor:
    """Labels [F,111] that show a motion of a body of shape `betas` [10], upright in the frame.

    With `follow` the camera goes along horizontally; else the body moves through the frame about its middle. Up and
    down stay.
    """
    orient = matrix_to_axis_angle(TO_LABEL @ axis_angle_to_matrix(motion.global_orient))
    trans = motion.trans @ TO_LABEL.T
    transl = torch.zeros_like(trans)
    transl[:, 1] = 0.15 + trans[:, 1] - trans[:, 1].median()
    if not follow:
        transl[:, 0] = trans[:, 0] - (trans[:, 0].amin() + trans[:, 0].amax()) / 2
    return labels.pack(transl, orient, motion.body_pose, betas.expand(len(motion), 10))
