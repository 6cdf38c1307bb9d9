"""Reading body files: the open body's .npz, SMPL's .npz, and SMPL's official .pkl without executing anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ag3d.core import bounded
from ag3d.core.errors import UserError
from ag3d.model.body.smpl_pickle import read_arrays

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
JOINTS, POSE_FEATURES, BETAS = 24, 207, 10
_NEEDED = ("v_template", "shapedirs", "J_regressor", "weights", "faces")
_OTHERS = ("posedirs", "landmarks", "kintree_table")
_SPARSE = ("weights_index", "weights_value", "J_regressor_index", "J_regressor_value")


def read_body_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays v_template, shapedirs, J_regressor, weights, faces, and posedirs and landmarks where there are any."""
    if not path.exists():
        raise UserError(
            f"the body file {path} does not exist; 'body.file' in the configuration is 'open' or the path of an SMPL .pkl or .npz"
        )
    if path.suffix == ".npz":
        data = read_npz(path)
    elif path.suffix == ".pkl":
        data = read_arrays(path, (*_NEEDED, *_OTHERS, "f"))
    else:
        raise UserError(f"{path}: a body file ends in .npz or .pkl")
    if "faces" not in data and "f" in data:
        data["faces"] = data["f"]
    return checked_body(data, path)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a body .npz by name; weights may be stored as indices and values."""
    with bounded.read_npz(path) as archive:
        data = {key: archive[key] for key in (*_NEEDED, *_OTHERS, *_SPARSE, "f") if key in archive}
    for name, by_row in (("weights", True), ("J_regressor", False)):
        if f"{name}_index" in data and f"{name}_value" in data and data.get("v_template", np.zeros(())).ndim:
            vertices = len(data["v_template"])
            shape = (vertices, JOINTS) if by_row else (JOINTS, vertices)
            data[name] = dense_matrix(data[f"{name}_index"], data[f"{name}_value"], shape, f"{path}: '{name}'")
    return data


def dense_matrix(index: np.ndarray, value: np.ndarray, shape: tuple[int, int], where: str) -> np.ndarray:
    """The matrix of indices [2,n] and values [n]. Raises UserError that begins with `where`."""
    if (
        index.dtype.kind not in "iu"
        or value.dtype.kind not in "fiu"
        or index.shape != (2, value.size)
        or value.ndim != 1
    ):
        raise UserError(
            f"{where} has indices {list(index.shape)} and values {list(value.shape)}, expected [2, n] and [n]"
        )
    if index.size and (index.min() < 0 or index[0].max() >= shape[0] or index[1].max() >= shape[1]):
        raise UserError(f"{where} has indices beyond {list(shape)}")
    dense = np.zeros(shape, np.float32)
    dense[tuple(index.astype(np.int64))] = value
    return dense


def checked_body(data: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """A body's arrays as float32 and int64, posedirs as [V,3,207] and at least 10 betas.

    Raises UserError where `data` is not a body with SMPL's 24 joints.
    """
    for key in _NEEDED:
        if key not in data:
            raise UserError(f"{path} is not a body model: '{key}' is missing")
    numbers = {key: _numbers(data[key], f"{path}: '{key}'") for key in (*_NEEDED, *_OTHERS) if key in data}
    vertices = numbers["v_template"].size // 3
    expected = {"v_template": (vertices, 3), "J_regressor": (JOINTS, vertices), "weights": (vertices, JOINTS)}
    for key, shape in expected.items():
        if numbers[key].shape != shape or not vertices:
            raise UserError(
                f"{path}: '{key}' is {numbers[key].shape}, expected {shape}; models with 24 joints (SMPL) are supported"
            )
    shapedirs = numbers["shapedirs"]
    if shapedirs.ndim != 3 or shapedirs.shape[:2] != (vertices, 3):
        raise UserError(f"{path}: 'shapedirs' is {shapedirs.shape}, expected ({vertices}, 3, betas)")
    numbers["shapedirs"] = np.pad(shapedirs, ((0, 0), (0, 0), (0, max(0, BETAS - shapedirs.shape[2]))))
    if "posedirs" in numbers:
        numbers["posedirs"] = _pose_corrections(numbers["posedirs"], vertices, path)
    faces, landmarks = numbers["faces"], numbers.get("landmarks", np.zeros(5, np.int64))
    whole = faces.dtype == landmarks.dtype == np.int64 and faces.ndim == 2 and faces.shape[1] == 3 and len(faces) > 0
    if not whole or faces.min() < 0 or faces.max() >= vertices:
        raise UserError(f"{path}: 'faces' must be triangles [F,3] of vertices 0 to {vertices - 1}")
    if landmarks.shape != (5,) or landmarks.min() < 0 or landmarks.max() >= vertices:
        raise UserError(f"{path}: 'landmarks' must be 5 vertices of 0 to {vertices - 1}")
    tree = numbers.pop("kintree_table", None)
    if tree is not None and (tree.shape != (2, JOINTS) or tuple(tree[0, 1:].tolist()) != PARENTS[1:]):
        raise UserError(
            f"{path}: 'kintree_table' joins the joints in another way than SMPL; such bodies are not supported"
        )
    return numbers


def _numbers(array: np.ndarray, where: str) -> np.ndarray:
    """As int64 or float32. Raises UserError that begins with `where`."""
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise UserError(f"{where} holds no numbers")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise UserError(f"{where} holds numbers that are not finite; it is damaged")
    return values


def _pose_corrections(posedirs: np.ndarray, vertices: int, path: Path) -> np.ndarray:
    """[V,3,207] of the layouts that occur: SMPL's own, and those of its libraries, which multiply from the left."""
    rows = 3 * vertices
    if posedirs.shape in ((vertices, 3, POSE_FEATURES), (rows, POSE_FEATURES)) and rows != POSE_FEATURES:
        return posedirs.reshape(vertices, 3, POSE_FEATURES)
    if posedirs.shape in ((POSE_FEATURES, rows), (POSE_FEATURES, vertices, 3)) and rows != POSE_FEATURES:
        return np.ascontiguousarray(posedirs.reshape(POSE_FEATURES, vertices, 3).transpose(1, 2, 0))
    if posedirs.shape == (vertices, 3, POSE_FEATURES):
        return posedirs
    raise UserError(
        f"{path}: 'posedirs' is {posedirs.shape}, expected ({vertices}, 3, {POSE_FEATURES}), ({rows}, {POSE_FEATURES}), "
        f"({POSE_FEATURES}, {rows}) or ({POSE_FEATURES}, {vertices}, 3)"
    )
