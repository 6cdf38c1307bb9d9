"""Fits made elsewhere: results of PyMAF, of 4D-Humans (HMR2) and of SMPLify-X, brought into the frame of this pipeline.

`kind` of a file (.npz, or .pkl of plain arrays, which is read without executing anything in it):

| kind | keys, for N people (leading dimensions of 1 may be missing) |
| --- | --- |
| pymaf | pose [N,72] or rotmat [N,24,3,3], betas [N,10], pred_cam [N,3], bboxes [N,4] (x, y of the centre, width, height) |
| hmr2 | global_orient [N,1,3,3], body_pose [N,23,3,3] (or both as vectors), betas [N,10], pred_cam [N,3], box_center [N,2], box_size [N] |
| smplifyx | global_orient [1,3], body_pose [1,69] or [1,63], betas [1,10], camera_translation [1,3] |

Whose photograph it is (by the rule of ag3d.preprocessing.matching): the key `image_name` [N] (paths or names of files), else
the file's own place in the folder of fits: `anna/walk.npz` is of `anna/walk.jpg`. Where that is no photograph, `walk_1.npz`
is of another person of `walk.jpg`, and `walk/001.pkl`, as SMPLify-X names it, too. Where there is a `walk_1_0.npz`, people
are numbered, and `walk_1.npz` is not of `walk_1.jpg`.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
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
from ag3d.preprocessing.matching import NameIndex, Photographs, files_below, likeness, place, some
from ag3d.preprocessing.photos import video

log = logging.getLogger(__name__)
BETAS = 10
FRAME = re.compile(r"-[0-9a-f]{8}-f\d{6}")  # the photo_id of a video's frame
OPTIONAL = ("pose", "rotmat", "image_name")
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


@dataclass(frozen=True)
class _Named:
    """An imported person, and the names that its photograph may have, the likeliest first."""

    names: tuple[str, ...]
    foreign: bool  # the names are another computer's
    person: ImportedFit


class Imports:
    """The imported people by photograph."""

    def __init__(self, settings: FitImport, photographs: Photographs | None = None) -> None:
        """`photographs`: all that there are; without them, those that are asked for are. What belongs to none is logged.
        Raises UserError where there are no fits, or a file is not as its kind says."""
        self.settings = settings
        self.refused: dict[str, str] = {}  # photographs that were asked for, and why their fits are not taken
        self._photographs = photographs
        path = Path(settings.path)
        if not settings.path or not path.exists():
            raise UserError(
                f"'fitting.imports.path' is '{settings.path}', which does not exist; name the file or the folder of the fits"
            )
        found = _read_all(path, settings.kind)
        self._levels = [
            NameIndex((item.names[level], item) for item in found if len(item.names) > level) for level in range(3)
        ]
        if photographs is not None:
            self._tell(found)

    def of(self, path: str) -> list[ImportedFit]:
        """The people of the photograph at `path` (of a frame of a video: of its `photo_id`)."""
        found: dict[str, list[ImportedFit]] = defaultdict(list)  # by the name that suits
        for level, index in enumerate(self._levels):
            for item in index.best(path, lambda name, item: likeness(name, path, item.foreign)):
                if self._photographs is None or self._meant(item) == [path]:
                    found[item.names[level]].append(item.person)
            if found and self._photographs is None:
                break
        if len({place(name)[:-1] for name in found}) > 1:
            self.refused[path] = f"imported fits of its name lie in several folders: {some(sorted(found))}"
            return []
        return [person for people in found.values() for person in people]

    def _meant(self, item: _Named) -> list[str]:
        """The photographs that it may be of, by the first of its names that any has."""
        assert self._photographs is not None
        by_name = (self._photographs.named(name, item.foreign) for name in item.names)
        return next((paths for paths in by_name if paths), [])

    def _tell(self, found: list[_Named]) -> None:
        meant = [(item, self._meant(item)) for item in found]
        unknown = set()
        for item, paths in meant:
            is_frame = FRAME.search(item.names[0])  # of a video that another shard may have
            if (not paths and not is_frame) or (len(paths) == 1 and video.is_video(paths[0])):
                unknown.add(item.names[0])
        undecided = {item.names[0] for item, paths in meant if len(paths) > 1}
        for words, names in (
            ("no photograph in the folder", unknown),
            ("several photographs, maybe; give folders", undecided),
        ):
            if names:
                log.warning("%d imported fits are of %s; passed over: %s", len(names), words, some(sorted(names)))


def _read_all(path: Path, kind: str) -> list[_Named]:
    """All people of a file, or of a folder's files. Raises UserError."""
    if path.is_dir():
        root, files = path, files_below(path, (".npz", ".pkl"))
    else:
        root, files = path.parent, [path.name]
    if not files:
        raise UserError(f"'fitting.imports.path': {path} holds no .npz and no .pkl file")
    stems = {os.path.splitext(file)[0] for file in files}
    found: list[_Named] = []
    odd_shapes: dict[int, list[str]] = defaultdict(list)
    for file in files:
        own = possible_names(os.path.splitext(file)[0], stems, root.absolute().name, kind)
        count = 0
        for name, person in read_people(root / file, kind):
            count += 1
            if len(person.betas) != BETAS:
                odd_shapes[len(person.betas)].append(str(root / file))
                person.betas = np.pad(person.betas, (0, BETAS))[:BETAS]
            values = (person.orient, person.pose, person.betas, person.scale, person.origin, person.translation)
            if all(np.isfinite(part).all() for part in values if part is not None):
                found.append(_Named((name,) if name else own, bool(name), person))
            else:
                log.warning("%s: person %d has values that are not finite, and is passed over", root / file, count - 1)
        if not count:
            log.warning("%s holds no people", root / file)
    for length, names in odd_shapes.items():
        what = "the missing ones are taken as 0" if length < BETAS else f"the first {BETAS} are taken"
        log.warning("%s: betas have %d numbers instead of %d; %s", some(dict.fromkeys(names)), length, BETAS, what)
    return found


def possible_names(stem: str, stems: Collection[str], root: str, kind: str) -> tuple[str, ...]:
    """The names that the photograph of the file `stem` (of all `stems` below the folder `root`) may have, the likeliest first."""
    folder, _, last = stem.rpartition("/")
    if re.fullmatch(r"\d{1,3}", last):
        names = (stem, folder or root)
        return names[::-1] if folder and kind == "smplifyx" else names
    if not re.search(r"._\d{1,2}$", last):
        return (stem,)
    without = re.sub(r"_\d{1,2}$", "", stem)
    return (without,) if f"{stem}_0" in stems else (stem, without)


def read_people(file: Path, kind: str) -> Iterator[tuple[str, ImportedFit]]:
    """Each person of a file, betas of any length, and its photograph's name where the file tells it. Raises UserError."""
    values = read_arrays(file, kind)
    try:
        betas = np.asarray(values["betas"], np.float64)
        if not betas.ndim or not betas.shape[-1]:
            raise ValueError(f"betas are {list(betas.shape)} numbers; [N,{BETAS}] are needed")
        count = math.prod(betas.shape[:-1])
        names = [_text(name) for name in np.ravel(values.get("image_name", []))]
        if names and len(names) != count:
            raise ValueError(f"image_name has {len(names)} names for {count} people")
        for k in range(count):
            yield names[k] if names else "", _person(file, kind, values, k, count)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise UserError(f"{file} is not as 'fitting.imports.kind: {kind}' says: {error}") from error


def _text(name: Any) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def read_arrays(file: Path, kind: str) -> dict[str, Any]:
    """What a file holds of the keys of its kind, numbers as float64. Raises UserError where it lacks one."""
    wanted = (*NEEDED[kind], *OPTIONAL)
    if file.suffix.lower() == ".npz":
        with read_npz(file) as archive:
            _check_keys(file, kind, archive)
            arrays: dict[str, Any] = {key: archive[key] for key in wanted if key in archive}
    else:
        content = read_plain(file, "a .pkl of plain arrays")
        _check_keys(file, kind, content)
        arrays = {key: content[key] for key in wanted if key in content}
    numbers = {
        key: value for key, value in arrays.items() if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    }
    if 8 * sum(value.size for value in numbers.values()) > allowance(file.stat().st_size):
        raise UserError(f"{file} holds more numbers than a file of its size should; are they fits?")
    return arrays | {key: value.astype(np.float64, copy=False) for key, value in numbers.items()}


def _check_keys(file: Path, kind: str, values: Mapping[Any, Any]) -> None:
    if missing := [key for key in NEEDED[kind] if key not in values]:
        keys = ", ".join(sorted(str(key) for key in values)[:12]) or "no such arrays"
        raise UserError(f"{file} lacks {', '.join(missing)}, which 'fitting.imports.kind: {kind}' needs; it has {keys}")


def _person(file: Path, kind: str, values: dict[str, Any], k: int, count: int) -> ImportedFit:
    def row(key: str, *shape: int) -> np.ndarray:
        return np.asarray(values[key], np.float64).reshape(count, *shape)[k]

    betas = np.zeros(BETAS)
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
            betas = row("betas", -1)
        pose = np.concatenate([pose, np.zeros(69 - len(pose))])
        return ImportedFit(file, orient, pose, betas, translation=row("camera_translation", 3))
    betas = row("betas", -1)
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
