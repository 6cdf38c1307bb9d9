"""Reading body files: the open body's .npz, SMPL's .npz, and SMPL's official .pkl without executing anything in it."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.core.errors import UserError
from ag3d.model.body.smpl_pickle import read_arrays

_WANTED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "faces", "landmarks")


def read_npz(path: Path) -> dict[str, Any]:
    """The named arrays of a body .npz; weights may be stored as indices and values."""
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("one bare array")
        with archive:
            data = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is not a readable .npz body file ({error})") from error
    for name, rows, columns in (("weights", "v_template", 24), ("J_regressor", 24, "v_template")):
        if f"{name}_index" in data and f"{name}_value" in data:
            shape = tuple(len(data[n]) if isinstance(n, str) else n for n in (rows, columns))
            dense = np.zeros(shape, np.float32)
            dense[tuple(data[f"{name}_index"].astype(np.int64))] = data[f"{name}_value"]
            data[name] = dense
    return data


def read_body_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays v_template, shapedirs, J_regressor, weights, faces, and posedirs and landmarks where there are any."""
    if not path.exists():
        raise UserError(
            f"the body file {path} does not exist; 'body.file' in the configuration is 'open' or the path of an SMPL .pkl or .npz"
        )
    if path.suffix == ".npz":
        data = read_npz(path)
    elif path.suffix == ".pkl":
        data = read_arrays(path, _WANTED)
    else:
        raise UserError(f"{path}: a body file ends in .npz or .pkl")
    if "faces" not in data and "f" in data:
        data["faces"] = data["f"]
    check_body(data, path)
    return data


def check_body(data: dict[str, np.ndarray], path: Path) -> None:
    """Raises UserError where `data` is not a body with 24 joints and at least 10 betas."""
    for key in ("v_template", "shapedirs", "J_regressor", "weights", "faces"):
        if key not in data:
            raise UserError(f"{path} is not a body model: '{key}' is missing")
    vertices = len(data["v_template"])
    expected = {"v_template": (vertices, 3), "J_regressor": (24, vertices), "weights": (vertices, 24)}
    for key, shape in expected.items():
        if data[key].shape != shape:
            raise UserError(
                f"{path}: '{key}' is {data[key].shape}, expected {shape}; models with 24 joints (SMPL) are supported"
            )
    if data["shapedirs"].ndim != 3 or data["shapedirs"].shape[:2] != (vertices, 3) or data["shapedirs"].shape[2] < 10:
        raise UserError(f"{path}: 'shapedirs' is {data['shapedirs'].shape}, expected ({vertices}, 3, 10 or more)")
    if (
        data["faces"].ndim != 2
        or data["faces"].shape[1] != 3
        or not 0 <= data["faces"].min() <= data["faces"].max() < vertices
    ):
        raise UserError(f"{path}: 'faces' must be triangles [F,3] of vertices 0 to {vertices - 1}")
    if not all(np.isfinite(data[key]).all() for key in ("v_template", "shapedirs", "J_regressor", "weights")):
        raise UserError(f"{path} holds numbers that are not finite; it is damaged")
