"""Motion files of AMASS's kinds, and the labels that show them."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ag3d.core.errors import UserError
from ag3d.model.body import label as labels
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle, slerp

_DAMAGED = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises on bad files
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
    """Read a motion of SMPL ([F,72]), SMPL-H ([F,156]) or SMPL-X ([F,165]) layout, or of parts root_orient and pose_body.

    Pickled entries are never opened (AMASS's SMPL-X files have some that are not needed). Without a frame rate, 30 per
    second are taken; without `trans`, the body stays in its place. Raises UserError naming the file and what is wrong.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"the motion file {path} does not exist") from error
    except _DAMAGED as error:
        raise UserError(f"{path} is not a motion file (.npz as AMASS delivers them): {error}") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise UserError(f"{path} is not a motion file (.npz as AMASS delivers them): it holds a single array")
    with archive:
        return motion_from(archive, str(path))


def motion_from(data: Mapping[str, np.ndarray], name: str) -> Motion:
    """The motion in the arrays of a file; `name` is for messages. Raises UserError."""
    orient, body = _turns(data, name)
    if len(body) == 0:
        raise UserError(f"{name} holds a motion of no frames")
    trans = _numbers(data, "trans", name) if "trans" in data else np.zeros((len(body), 3))
    if trans.shape != (len(body), 3):
        raise UserError(f"{name}: 'trans' is {list(trans.shape)}, expected [{len(body)}, 3]")
    turns = "poses" if "poses" in data else "root_orient' or 'pose_body"
    for key, value in ((turns, np.concatenate([orient, body], axis=1)), ("trans", trans)):
        bad = np.flatnonzero(~np.isfinite(value).all(axis=1))
        if len(bad):
            raise UserError(f"{name}: '{key}' is not a number in {len(bad)} frames, the first is {bad[0]}")
    rotation, pose, shift = (torch.from_numpy(np.asarray(array, np.float32)) for array in (orient, body, trans))
    return Motion(rotation, pose, shift, _frame_rate(data, name))


def _turns(data: Mapping[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The root's rotations [F,3] and the joints' [F,69], axis-angle."""
    if "poses" in data:
        poses = _numbers(data, "poses", name)
        if poses.ndim != 2 or poses.shape[1] not in (72, 156, 165):
            raise UserError(
                f"{name}: 'poses' is {list(poses.shape)}; expected [frames, 72 (SMPL), 156 (SMPL-H) or 165 (SMPL-X)]"
            )
        hands = {
            72: poses[:, 66:72],
            156: np.concatenate([poses[:, 72:75], poses[:, 117:120]], axis=1),
            165: np.zeros((len(poses), 6)),
        }
        return poses[:, :3], np.concatenate([poses[:, 3:66], hands[poses.shape[1]]], axis=1)
    if "root_orient" not in data or "pose_body" not in data:
        raise UserError(
            f"{name} holds no motion: neither 'poses' nor 'root_orient' and 'pose_body' (it has: {', '.join(sorted(data))})"
        )
    orient, body = _numbers(data, "root_orient", name), _numbers(data, "pose_body", name)
    if body.ndim != 2 or body.shape[1] not in (63, 69) or orient.shape != (len(body), 3):
        raise UserError(
            f"{name}: 'root_orient' is {list(orient.shape)} and 'pose_body' {list(body.shape)}; expected [F,3] and [F,63]"
        )
    return orient, np.concatenate([body[:, :63], np.zeros((len(body), 6))], axis=1)


def _frame_rate(data: Mapping[str, np.ndarray], name: str) -> float:
    for key in ("mocap_framerate", "mocap_frame_rate"):
        if key in data:
            value = _numbers(data, key, name)
            if value.size != 1 or not 1 <= value.item() <= 1000:
                raise UserError(
                    f"{name}: '{key}' is {value.tolist()}; expected one number of frames per second, 1 to 1000"
                )
            return float(value.item())
    return 30.0


def _numbers(data: Mapping[str, np.ndarray], key: str, name: str) -> np.ndarray:
    try:
        value = data[key]
    except _DAMAGED as error:
        raise UserError(f"{name}: '{key}' cannot be read: {error}") from error
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise UserError(f"{name}: '{key}' holds no numbers")
    return value


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
