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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ag3d.config.data import FitImport
from ag3d.core.bounded import allowance, read_npz
from ag3d.core.errors import UserError
from ag3d.core.landmarks import JOINT_PAIRS
from ag3d.model.body.body import Body
from ag3d.model.body.lbs import forward_kinematics
from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from ag3d.model.safe_pickle.plain import read_plain
from ag3d.preprocessing.fitting.optimise import FitResult

NEEDED = {
    "pymaf": ("betas", "pred_cam", "bboxes"),
    "hmr2": ("global_orient", "body_pose", "betas", "pred_cam", "box_center", "box_size"),
    "smplifyx": ("global_orient", "body_pose", "betas", "camera_translation"),
}


@dataclass
class ImportedFit:
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
        path = Path(settings.path)
        if not settings.path or not path.exists():
            raise UserError(
                f"'fitting.imports.path' is '{settings.path}', which does not exist; name the file or the folder of the fits"
            )
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.suffix in (".npz", ".pkl"))
        self.people: dict[str, list[ImportedFit]] = defaultdict(list)
        for file in files:
            for name, person in read_people(file, settings.kind):
                self.people[name].append(person)
        if not self.people:
            raise UserError(f"'fitting.imports.path': {path} holds no .npz and no .pkl file")

    def of(self, path: str) -> list[ImportedFit]:
        """The people of the photograph at `path`, by its name."""
        return self.people.get(Path(path).stem, [])


def read_people(file: Path, kind: str) -> Iterator[tuple[str, ImportedFit]]:
    """Name of the photograph and each person of a file. Raises UserError."""
    values = read_arrays(file)
    if missing := [key for key in NEEDED[kind] if key not in values]:
        raise UserError(
            f"{file} lacks {', '.join(missing)}, which 'fitting.imports.kind: {kind}' needs; it has {', '.join(sorted(values)[:12])}"
        )
    try:
        betas = np.asarray(values["betas"], np.float64)
        betas = betas.reshape(-1, betas.shape[-1])
        names = [str(name) for name in np.ravel(values["image_name"])] if "image_name" in values else []
        for k in range(len(betas)):
            name = Path(names[k]).stem if names else photo_name(file)
            yield name, _person(file, kind, values, k, len(betas))
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise UserError(f"{file} is not as 'fitting.imports.kind: {kind}' says: {error}") from error


def photo_name(file: Path) -> str:
    """The photograph's name by that of a file of one person."""
    if re.fullmatch(r"\d{1,3}", file.stem):
        return file.parent.name
    return re.sub(r"_\d{1,2}$", "", file.stem)


def read_arrays(file: Path) -> dict[str, Any]:
    """The arrays of a file, numbers as float64. Raises UserError."""
    if file.suffix == ".npz":
        with read_npz(file) as archive:
            arrays: dict[str, Any] = dict(archive)
    else:
        arrays = read_plain(file, "a .pkl of plain arrays")
    numbers = {
        key: value for key, value in arrays.items() if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    }
    if 8 * sum(value.size for value in numbers.values()) > allowance(file.stat().st_size):
        raise UserError(f"{file} holds more numbers than a file of its size should; are they fits?")
    return arrays | {key: value.astype(np.float64, copy=False) for key, value in numbers.items()}


def _person(file: Path, kind: str, values: dict[str, Any], k: int, count: int) -> ImportedFit:
    def row(key: str, *shape: int) -> np.ndarray:
        return np.asarray(values[key], np.float64).reshape(count, *shape)[k]

    betas = np.zeros(10)
    if kind == "pymaf":
        turns = _from_matrices(row("rotmat", 24, 3, 3)) if "rotmat" in values else row("pose", 24, 3)
        orient, pose = turns[0], turns[1:].ravel()
        camera, box = row("pred_cam", 3), row("bboxes", 4)
        centre, side = box[:2], box[2:].max()
    elif kind == "hmr2":
        orient, pose = (_axis_angles(values[key], count)[k] for key in ("global_orient", "body_pose"))
        orient, pose = orient[0], pose.ravel()
        camera, centre, side = row("pred_cam", 3), row("box_center", 2), float(row("box_size"))
    else:
        orient, pose = row("global_orient", 3), row("body_pose", -1)
        if len(pose) not in (63, 69):
            raise ValueError(
                f"body_pose has {len(pose)} numbers; 69 (SMPL) or 63 (SMPL-X) are needed, not VPoser's code"
            )
        smplx = len(pose) == 63  # without the hands; its shapes are of another space
        if not smplx:
            betas = row("betas", -1)[:10]
        pose = np.concatenate([pose, np.zeros(69 - len(pose))])
        return ImportedFit(file, orient, pose, betas, translation=row("camera_translation", 3))
    betas = row("betas", -1)[:10]
    # In the crop a point X is seen at s (X + t), from -1 to 1 over its side.
    scale = float(camera[0]) * side / 2
    origin = centre + scale * camera[1:]
    return ImportedFit(file, orient, pose, betas, scale, (float(origin[0]), float(origin[1])))


def _axis_angles(values: Any, count: int) -> np.ndarray:
    """Rotations of any layout as vectors [count,joints,3]."""
    array = np.asarray(values, np.float64)
    if array.shape[-2:] == (3, 3):
        return _from_matrices(array.reshape(count, -1, 3, 3))
    return array.reshape(count, -1, 3)


def _from_matrices(matrices: np.ndarray) -> np.ndarray:
    flat = torch.from_numpy(matrices.reshape(-1, 3, 3))
    return matrix_to_axis_angle(flat).numpy().reshape(*matrices.shape[:-2], 3)


def best_fit(
    people: list[ImportedFit], photo: pd.Series, photo_scale: float, body: Body, focal: float
) -> tuple[FitResult, torch.Tensor] | None:
    """The best of `people` for the person whose landmarks `photo` (a row of the table of people) has, and its mean distance
    to them (pixels); None without people. `photo_scale`: pixels of the photograph as it is read, per pixel of the file."""
    if not people:
        return None
    fits = FitResult.cat([_to_result(person, photo, photo_scale, body, focal) for person in people])
    landmarks = torch.from_numpy(np.reshape(photo["landmarks_2d"], (33, 2)).astype(np.float32))
    compared = [(mark, joint) for mark, joint in JOINT_PAIRS if "ELBOW" not in joint.name and "WRIST" not in joint.name]
    pixels = fits.origin[:, None] + fits.scale[:, None, None] * _joints(body, fits)[..., :2]
    distance = torch.stack([(pixels[:, joint] - landmarks[mark]).norm(dim=1) for mark, joint in compared], 1).mean(1)
    best = int(distance.argmin())
    return fits[best : best + 1], distance[best]


def _to_result(person: ImportedFit, photo: pd.Series, photo_scale: float, body: Body, focal: float) -> FitResult:
    def tensor(values: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float32))[None]

    fit = FitResult(
        tensor(person.betas),
        tensor(person.pose),
        tensor(person.orient),
        tensor(person.scale * photo_scale),
        tensor(person.origin) * photo_scale,
        torch.full((1, 24), torch.nan),
    )
    if person.translation is None:
        return fit
    joints = _joints(body, fit)[0].double()
    in_camera = joints + torch.from_numpy(person.translation)
    if not (in_camera[:, 2] > 0).all():
        raise UserError(f"{person.file}: the body lies behind the camera")
    size = torch.tensor([photo["width"], photo["height"]], dtype=torch.float64)
    pixels = size / 2 + photo_scale * focal * in_camera[:, :2] / in_camera[:, 2:]
    # The distant camera that shows the joints most like the near one.
    flat = joints[:, :2] - joints[:, :2].mean(0)
    scale = (flat * (pixels - pixels.mean(0))).sum() / flat.square().sum()
    origin = pixels.mean(0) - scale * joints[:, :2].mean(0)
    return replace(fit, scale=scale.float()[None], origin=origin.float()[None])


def _joints(body: Body, fit: FitResult) -> torch.Tensor:
    """Joints [B,24,3] about the body's own origin."""
    rotations = torch.cat([fit.global_orient[:, None], fit.body_pose.view(-1, 23, 3)], 1)
    return forward_kinematics(axis_angle_to_matrix(rotations), body.rest_joints(fit.betas), body.parents)[1]
