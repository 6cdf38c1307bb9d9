"""Where motions come from, by name: formulas in AMASS's file layout, motion files, and the pipeline's own fits of a video."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.core.files import read_record, read_table
from ag3d.model.avatars.motion import TO_LABEL, USUAL_RATE, Motion, motion_from, read_motion
from ag3d.model.body.body import JOINTS
from ag3d.model.body.rotation import axis_angle_to_matrix, compose_axis_angles, matrix_to_axis_angle, slerp
from ag3d.preprocessing.photos.read_image import PhotoError
from ag3d.preprocessing.photos.video import frame_times
from ag3d.preprocessing.schemas import FITS

NAMES = "walk, wave, a motion file (.npz, .npy or .pkl: SMPL, SMPL-H, SMPL-X), or fits of a video (results/DATA/fitting#VIDEO)"
_THIGH, _SHIN = 0.40, 0.42  # metres
_HEEL, _BALL, _SOLE = -0.06, 0.12, 0.08  # metres: of the sole, in front of the ankle and below it
_PELVIS = 0.02  # metres of `trans` above the hips
_STRIDE = 1.32  # metres of two steps: with it, the foot on the ground stays where it is
_UPRIGHT = (np.pi / 2, 0.0, 0.0)  # AMASS's world has z up
_COLUMNS = ("photo_id", "path", "centre_x", "centre_y", "half", "transl", "global_orient", "body_pose", "status")
_FRAME = re.compile(r"-f(\d{6,9})$")  # how the stage photos names frames
MOST_FRAMES = 1_000_000  # nine hours


def named_motion(name: str) -> Motion:
    """A built-in motion, a motion file (AMASS), or the pipeline's fits of a video. Raises UserError."""
    if name in BUILT_IN:
        return built_in(name)
    return read_fits(name) if is_fits(name) else read_motion(name)


# Built-in motions.


def walk_motion(cycles: int = 2, fps: int = 30, period: float = 1.1) -> dict[str, np.ndarray]:
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


def wave_motion(frames: int = 60, fps: int = 30) -> dict[str, np.ndarray]:
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
    fixed = {"betas": np.zeros(16), "mocap_framerate": np.array(float(fps)), "gender": np.array("neutral")}
    return {"poses": pose.reshape(len(pose), -1), "trans": trans, **fixed}


BUILT_IN: dict[str, Callable[..., dict[str, np.ndarray]]] = {"walk": walk_motion, "wave": wave_motion}


def built_in(name: str) -> Motion:
    """The motion of that name in BUILT_IN."""
    return motion_from(BUILT_IN[name](), name)


# Fits of a video: results/<dataset>/fitting.


def is_fits(name: str | Path) -> bool:
    """Whether a motion's name is that of fits: a folder or a .parquet, perhaps with '#' and a video's name."""
    path = Path(str(name).partition("#")[0])
    return path.suffix == ".parquet" or path.is_dir()


def read_fits(name: str | Path) -> Motion:
    """The motion of the person in a video: `<folder of fits>#<video>`; the video may be left out where there is one.

    Frames that were not taken or not fitted are filled in slerp their neighbours. The person moves as in the picture:
    sideways and up and down, as far as the camera stood still; nothing is known of the way towards it. Raises UserError.
    """
    folder, _, video = str(name).partition("#")
    table = _read_table(Path(folder))
    table["frame"] = [int(match[1]) if (match := _FRAME.search(str(photo))) else -1 for photo in table["photo_id"]]
    table = table[(table["status"] == "ok") & (table["frame"] >= 0)]
    table["path"] = table["path"].astype(str)
    films = sorted(set(table["path"]))
    if not films:
        raise UserError(f"{folder} holds no fitted frames of a video")
    if not video and len(films) > 1:
        raise UserError(
            f"{folder} holds several videos; give one of them: {', '.join(f'{folder}#{one}' for one in films)}"
        )
    matching = [one for one in films if video in ("", one, Path(one).name, Path(one).stem)]
    if len(matching) != 1:
        raise UserError(
            f"{folder} holds {'no' if not matching else 'several'} videos named {video}; it has {', '.join(films)}"
        )
    rows = table[table["path"] == matching[0]].sort_values("frame").drop_duplicates("frame")
    step = math.gcd(*(int(gap) for gap in np.diff(rows["frame"]))) or 1
    count = (int(rows["frame"].iloc[-1]) - int(rows["frame"].iloc[0])) // step + 1
    if count > MOST_FRAMES:
        raise UserError(f"{folder}: the frames of {matching[0]} span {count:,}; at most {MOST_FRAMES:,} make a motion")
    return _interpolated(_checked(rows, folder), step, _video_rate(Path(folder), matching[0], step) / step)


def _read_table(path: Path) -> pd.DataFrame:
    files = [path] if path.suffix == ".parquet" else sorted(path.glob("*.parquet"))
    if not files:
        raise UserError(
            f"{path} holds no fits (.parquet); the folder of a data set's fits is results/<dataset>/fitting"
        )
    schema = pa.schema([FITS.field(column) for column in _COLUMNS])
    return pd.concat([read_table(file, schema)[list(_COLUMNS)] for file in files], ignore_index=True)


def _checked(rows: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Rows whose numbers are as many as such have, and finite. Raises UserError."""
    for key in ("transl", "global_orient", "body_pose"):
        length = int(FITS.field(key).metadata[b"length"])
        values = [np.asarray(value, np.float32) for value in rows[key]]
        if not all(value.shape == (length,) and np.isfinite(value).all() for value in values):
            raise UserError(
                f"{folder}: '{key}' of some frames is not {length} finite numbers; delete the table and run again"
            )
    frame = rows[["centre_x", "centre_y", "half"]].to_numpy(np.float32)
    if not np.isfinite(frame).all() or not (frame[:, 2] > 0).all():
        raise UserError(f"{folder}: the picture's frame of some rows is no numbers; delete the table and run again")
    return rows


def _interpolated(rows: pd.DataFrame, step: int, fps: float) -> Motion:
    """A frame at each `step` of the video's frames."""

    def stacked(key: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(value, np.float32) for value in rows[key]]))

    turns = torch.cat([stacked("global_orient"), stacked("body_pose")], dim=1)
    centre = torch.tensor(rows[["centre_x", "centre_y"]].to_numpy(np.float32))
    metres = (centre - centre[:1]) / torch.tensor(rows["half"].to_numpy(np.float32))[:, None]
    trans = stacked("transl") + torch.nn.functional.pad(metres, (0, 1))
    trans[:, 2] = 0
    known = rows["frame"].to_numpy()
    frames = np.arange(known[0], known[-1] + 1, step)
    second = np.searchsorted(known, frames).clip(min(1, len(known) - 1))
    first = (second - 1).clip(0)
    gap = np.maximum(known[second] - known[first], 1)
    share = torch.from_numpy(((frames - known[first]) / gap).astype(np.float32))[:, None]
    turns = turns.unflatten(1, (24, 3))
    turns = slerp(turns[first], turns[second], share[..., None])
    trans = torch.lerp(trans[first], trans[second], share)
    orient = matrix_to_axis_angle(TO_LABEL.T @ axis_angle_to_matrix(turns[:, 0]))
    return Motion(orient, turns[:, 1:].flatten(1), trans @ TO_LABEL, fps)


def _video_rate(fits: Path, video: str, step: int) -> float:
    """Frames per second of the video itself: of the file, else as far as the manifest's settings tell."""
    folder = fits.parent if fits.suffix == ".parquet" else fits
    per_second = 0.0
    for manifest in sorted((folder.parent / "photos").glob("*.parquet")):
        record = read_record(manifest)
        settings = record.get("settings")
        if isinstance(settings, dict) and not settings.get("frame_stride"):
            per_second = number if isinstance(number := settings.get("frames_per_second"), int | float) else 0.0
        path = manifest.parent / str(record.get("folder", "")) / video
        with contextlib.suppress(PhotoError):
            times = frame_times(path)
            if len(times) > 1 and 1 <= (fps := (len(times) - 1) / max(times[-1] - times[0], 1e-6)) <= 1000:
                return float(fps)
    guess = per_second * step or USUAL_RATE
    log.warning("the video %s is not there any more: %g frames per second are taken for its rate", video, guess)
    return guess
