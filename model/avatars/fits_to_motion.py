"""A motion from the pipeline's own fits of a video: results/<dataset>/fits."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.core.files import read_record
from ag3d.model.avatars.motion import TO_LABEL, Motion
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle, slerp

_COLUMNS = ("photo_id", "path", "centre_x", "centre_y", "half", "transl", "global_orient", "body_pose", "status")
_FRAME = re.compile(r"-f(\d{6,})$")  # how the stage photos names frames
_USUAL = 30.0


def is_fits(name: str | Path) -> bool:
    """Whether a motion's name is that of fits: a folder or a .parquet, perhaps with '#' and a video's name."""
    place = Path(str(name).partition("#")[0])
    return place.suffix == ".parquet" or place.is_dir()


def read_fits(name: str | Path) -> Motion:
    """The motion of the person in a video: `<folder of fits>#<video>`; the video may be left out where there is one.

    Frames that were not taken or not fitted are filled in slerp their neighbours. The person moves as in the picture:
    sideways and up and down, as far as the camera stood still; nothing is known of the way towards it. Raises UserError.
    """
    place, _, video = str(name).partition("#")
    table = _table(Path(place))
    table["frame"] = [int(found[1]) if (found := _FRAME.search(photo)) else -1 for photo in table["photo_id"]]
    table = table[(table["status"] == "ok") & (table["frame"] >= 0)]
    films = sorted(set(table["path"]))
    if not films:
        raise UserError(f"{place} holds no fitted frames of a video")
    if not video and len(films) > 1:
        raise UserError(
            f"{place} holds several videos; give one of them: {', '.join(f'{place}#{one}' for one in films)}"
        )
    chosen = [one for one in films if video in ("", one, Path(one).name, Path(one).stem)]
    if len(chosen) != 1:
        raise UserError(
            f"{place} holds {'no' if not chosen else 'several'} videos named {video}; it has {', '.join(films)}"
        )
    rows = table[table["path"] == chosen[0]].sort_values("frame").drop_duplicates("frame")
    step = math.gcd(*(int(gap) for gap in np.diff(rows["frame"]))) or 1
    return _filled(rows, step, _rate(Path(place), chosen[0], step) / step)


def _table(place: Path) -> pd.DataFrame:
    files = [place] if place.suffix == ".parquet" else sorted(place.glob("*.parquet"))
    if not files:
        raise UserError(f"{place} holds no fits (.parquet); the folder of a data set's fits is results/<dataset>/fits")
    parts = []
    for file in files:
        try:
            part = pd.read_parquet(file)
        except FileNotFoundError as error:
            raise UserError(f"the fits {file} do not exist") from error
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{file} is not a readable table (.parquet): {error}") from error
        missing = [column for column in _COLUMNS if column not in part]
        if missing:
            raise UserError(f"{file} is not a table of fits: '{missing[0]}' is missing")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _filled(rows: pd.DataFrame, step: int, fps: float) -> Motion:
    """A frame at each `step` of the video's frames."""

    def stacked(key: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.asarray(value, np.float32) for value in rows[key]]))

    turns = torch.cat([stacked("global_orient"), stacked("body_pose")], dim=1)
    place = torch.tensor(rows[["centre_x", "centre_y"]].to_numpy(np.float32))
    metres = (place - place[:1]) / torch.tensor(rows["half"].to_numpy(np.float32))[:, None]
    moved = stacked("transl") + torch.nn.functional.pad(metres, (0, 1))
    moved[:, 2] = 0
    known = rows["frame"].to_numpy()
    wanted = np.arange(known[0], known[-1] + 1, step)
    second = np.searchsorted(known, wanted).clip(min(1, len(known) - 1))
    first = (second - 1).clip(0)
    gap = np.maximum(known[second] - known[first], 1)
    share = torch.from_numpy(((wanted - known[first]) / gap).astype(np.float32))[:, None]
    turns = turns.unflatten(1, (24, 3))
    turns = slerp(turns[first], turns[second], share[..., None])
    moved = torch.lerp(moved[first], moved[second], share)
    orient = matrix_to_axis_angle(TO_LABEL.T @ axis_angle_to_matrix(turns[:, 0]))
    return Motion(orient, turns[:, 1:].flatten(1), moved @ TO_LABEL, fps)


def _rate(place: Path, video: str, step: int) -> float:
    """Frames per second of the video itself: of the file, else as far as the manifest's settings tell."""
    folder = place.parent if place.suffix == ".parquet" else place
    per_second = 0.0
    for manifest in sorted((folder.parent / "photos").glob("*.parquet")):
        record = read_record(manifest)
        settings = record.get("settings", {})
        per_second = 0.0 if settings.get("frame_stride") else float(settings.get("frames_per_second") or 0)
        path = manifest.parent / record.get("folder", "") / video
        with contextlib.suppress(OSError, RuntimeError, StopIteration):
            if path.is_file():
                with contextlib.closing(imageio_ffmpeg.read_frames(str(path))) as reader:
                    return float(next(reader)["fps"])
    guess = per_second * step or _USUAL
    log.warning("the video %s is not there any more: %g frames per second are taken for its rate", video, guess)
    return guess
