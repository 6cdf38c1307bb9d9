"""Fits made elsewhere: results of PyMAF, of 4D-Humans (HMR2) and of SMPLify-X, brought into the frame of this pipeline.

`kind` of a file (.npz, or .pkl of plain arrays, which is read without executing anything in it):

| kind | keys, for N people (leading dimensions of 1 may be missing) |
| --- | --- |
| pymaf | pose [N,72] or rotmat [N,24,3,3], betas [N,10], pred_cam [N,3], bboxes [N,4] (x, y of the centre, width, height) |
| hmr2 | global_orient [N,1,3,3], body_pose [N,23,3,3] (or both as vectors), betas [N,10], pred_cam [N,3], box_center [N,2], box_size [N] |
| smplifyx | global_orient [1,3], body_pose [1,69] or [1,63], betas [1,10], camera_translation [1,3] |

Whose photograph it is: the key `image_name` [N] (paths or names of files), else the file's own name, or its folder's
where the file bears only a number, as with SMPLify-X. A name that ends in _1, _2 … is of another person of the photograph.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ag3d.config.data import FitImport
from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from ag3d.model.safe_pickle.unpickler import Values, common_names, read, refusing
from ag3d.preprocessing.fitting.optimise import Fit

BUDGET = 1 << 30  # bytes of arrays that one file may hold
NEEDED = {
    "pymaf": ("betas", "pred_cam", "bboxes"),
    "hmr2": ("global_orient", "body_pose", "betas", "pred_cam", "box_center", "box_size"),
    "smplifyx": ("global_orient", "body_pose", "betas", "camera_translation"),
}


@dataclass
class Found:
    """One imported person. Pixels are those of the photograph's file."""

    file: Path
    orient: np.ndarray  # [3] axis-angle, y down
    pose: np.ndarray  # [69]
    betas: np.ndarray  # [10]
    scale: float = 0.0  # pixels per metre (pymaf, hmr2)
    origin: tuple[float, float] = (0.0, 0.0)  # pixel of the body's origin
    translation: np.ndarray | None = None  # [3] metres from a perspective camera (smplifyx)


class Imports:
    """The imported people by photograph."""

    def __init__(self, settings: FitImport) -> None:
        """Raises UserError where there are none, or a file is not as its kind says."""
        self.settings = settings
        place = Path(settings.path).expanduser()
        if not settings.path or not place.exists():
            raise UserError(
                f"'fitting.imports.path' is '{settings.path}', which does not exist; name the file or the folder of the fits"
            )
        files = [place] if place.is_file() else sorted(p for p in place.rglob("*") if p.suffix in (".npz", ".pkl"))
        self.people: dict[str, list[Found]] = defaultdict(list)
        for file in files:
            for name, found in people_of(file, settings.kind):
                self.people[name].append(found)
        if not self.people:
            raise UserError(f"'fitting.imports.path': {place} holds no .npz and no .pkl file")

    def of(self, path: str) -> list[Found]:
        """The people of the photograph at `path`, by its name."""
        return self.people.get(Path(path).stem, [])


def people_of(file: Path, kind: str) -> Iterator[tuple[str, Found]]:
    """Name of the photograph and each person of a file. Raises UserError."""
    values = contents(file)
    if missing := [key for key in NEEDED[kind] if key not in values]:
        raise UserError(
            f"{file} lacks {', '.join(missing)}, which 'fitting.imports.kind: {kind}' needs; it has {', '.join(sorted(values)[:12])}"
        )
    try:
        betas = np.asarray(values["betas"], np.float64)
        betas = betas.reshape(-1, betas.shape[-1])
        names = [str(name) for name in np.ravel(values["image_name"])] if "image_name" in values else []
        for k in range(len(betas)):
            name = Path(names[k]).stem if names else own_name(file)
            yield name, _person(file, kind, values, k, len(betas))
    except (ValueError, IndexError, TypeError) as error:
        raise UserError(f"{file} is not as 'fitting.imports.kind: {kind}' says: {error}") from error


def own_name(file: Path) -> str:
    """The photograph's name by that of a file of one person."""
    if re.fullmatch(r"\d{1,3}", file.stem):
        return file.parent.name
    return re.sub(r"_\d{1,2}$", "", file.stem)


def contents(file: Path) -> dict[str, Any]:
    """The arrays of a file. Raises UserError."""
    if file.suffix == ".npz":
        try:
            with np.load(file, allow_pickle=False) as archive:
                return dict(archive)
        except (OSError, ValueError) as error:
            raise UserError(f"{file} is no .npz file of plain arrays: {error}") from error
    hint = "A file of joblib must be saved anew with numpy.savez first (docs/data.md)."
    with refusing(file, "a .pkl of plain arrays", hint):
        whole, values = read(file, common_names), Values(BUDGET)
        if not isinstance(whole, dict):
            raise ValueError("it holds no dictionary")
        found = {}
        for key, value in whole.items():
            value = values(value)
            if isinstance(value, np.ndarray | int | float) or (
                isinstance(value, list) and all(isinstance(v, str | int | float) for v in value)
            ):
                found[str(key)] = value
        return found


def _person(file: Path, kind: str, values: dict[str, Any], k: int, count: int) -> Found:
    def row(key: str, *shape: int) -> np.ndarray:
        return np.asarray(values[key], np.float64).reshape(count, *shape)[k]

    betas = np.zeros(10)
    if kind == "pymaf":
        turns = _vectors(row("rotmat", 24, 3, 3)) if "rotmat" in values else row("pose", 24, 3)
        orient, pose = turns[0], turns[1:].ravel()
        camera, box = row("pred_cam", 3), row("bboxes", 4)
        centre, side = box[:2], box[2:].max()
    elif kind == "hmr2":
        orient, pose = (_turns(values[key], count)[k] for key in ("global_orient", "body_pose"))
        orient, pose = orient[0], pose.ravel()
        camera, centre, side = row("pred_cam", 3), row("box_center", 2), float(row("box_size"))
    else:
        orient, pose = row("global_orient", 3), row("body_pose", -1)
        if len(pose) not in (63, 69):
            raise ValueError(
                f"body_pose has {len(pose)} numbers; 69 (SMPL) or 63 (SMPL-X) are needed, not VPoser's code"
            )
        smplx = len(pose) == 63  # without the hands; its shapes are of another space
        found = Found(file, orient, np.concatenate([pose, np.zeros(69 - len(pose))]), betas)
        if not smplx:
            found.betas = row("betas", -1)[:10]
        found.translation = row("camera_translation", 3)
        return found
    betas = row("betas", -1)[:10]
    # In the crop a point X is seen at s (X + t), from -1 to 1 over its side.
    scale = float(camera[0]) * side / 2
    origin = centre + scale * camera[1:]
    return Found(file, orient, pose, betas, scale, (float(origin[0]), float(origin[1])))


def _turns(values: Any, count: int) -> np.ndarray:
    """Rotations of any layout as vectors [count,joints,3]."""
    array = np.asarray(values, np.float64)
    if array.shape[-2:] == (3, 3):
        return _vectors(array.reshape(count, -1, 3, 3))
    return array.reshape(count, -1, 3)


def _vectors(matrices: np.ndarray) -> np.ndarray:
    flat = torch.from_numpy(matrices.reshape(-1, 3, 3))
    return matrix_to_axis_angle(flat).numpy().reshape(*matrices.shape[:-2], 3)


def fit_of(
    people: list[Found], photo: pd.Series, factor: float, body: Body, focal: float
) -> tuple[Fit, torch.Tensor] | None:
    """The best of `people` for the person whose landmarks `photo` (a row of the table of people) has, and its mean
    distance to them (pixels); None without people. `factor`: pixels of the photograph as it is read, per pixel of the file."""
    if not people:
        return None
    fits = [_fit(one, photo, factor, body, focal) for one in people]
    found = Fit(*(torch.cat(values) for values in zip(*(vars(f).values() for f in fits), strict=True)))
    joints = _joints(body, found)
    seen = torch.from_numpy(np.reshape(photo["landmarks_2d"], (33, 2)).astype(np.float32))
    pairs = ((16, 11), (17, 12), (1, 23), (2, 24), (4, 25), (5, 26), (7, 27), (8, 28))
    placed = found.origin[:, None] + found.scale[:, None, None] * joints[..., :2]
    apart = torch.stack([(placed[:, a] - seen[b]).norm(dim=1) for a, b in pairs], 1).mean(1)
    best = int(apart.argmin())
    return Fit(*(value[best : best + 1] for value in vars(found).values())), apart[best]


def _fit(one: Found, photo: pd.Series, factor: float, body: Body, focal: float) -> Fit:
    def tensor(values: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float32))[None]

    unknown = torch.full((1, 24), torch.nan)
    found = Fit(
        tensor(one.betas),
        tensor(one.pose),
        tensor(one.orient),
        tensor(one.scale * factor),
        tensor(one.origin) * factor,
        unknown,
    )
    if one.translation is None:
        return found
    joints = _joints(body, found)[0].double()
    seen = joints + torch.from_numpy(one.translation)
    if not (seen[:, 2] > 0).all():
        raise UserError(f"{one.file}: the body lies behind the camera")
    size = torch.tensor([photo["width"], photo["height"]], dtype=torch.float64)
    pixels = size / 2 + factor * focal * seen[:, :2] / seen[:, 2:]
    # The distant camera that shows the joints most like the near one.
    flat = joints[:, :2] - joints[:, :2].mean(0)
    scale = (flat * (pixels - pixels.mean(0))).sum() / flat.square().sum()
    origin = pixels.mean(0) - scale * joints[:, :2].mean(0)
    return Fit(found.betas, found.body_pose, found.global_orient, scale.float()[None], origin.float()[None], unknown)


def _joints(body: Body, found: Fit) -> torch.Tensor:
    """Joints [B,24,3] about the body's own origin."""
    rotations = torch.cat([found.global_orient[:, None], found.body_pose.view(-1, 23, 3)], 1)
    rest = body.rest_joints(found.betas)
    return body.forward_kinematics(axis_angle_to_matrix(rotations), rest, torch.zeros(len(rest), 3))[1]
