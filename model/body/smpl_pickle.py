"""SMPL's official .pkl files, written from chumpy's and scipy's classes, read without executing anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ag3d.core.bounded import MOST_BYTES
from ag3d.model.safe_pickle.unpickler import Inert, Values, common_names, read, refusing

SLACK = 64 << 20  # bytes; sparse matrices grow when they are filled in
LARGEST = 8  # times the file's size: what its expressions may grow to


class _Compressed(Inert):
    """A sparse matrix of scipy, in any release's attribute names."""

    by_column = True

    def value(self, values: Values) -> np.ndarray:
        data, indices, starts = (values.array(self._part(name)) for name in ("data", "indices", "indptr"))
        rows, columns = (int(values(n)) for n in self._part("shape"))
        lines, width = (columns, rows) if self.by_column else (rows, columns)
        fits = all(part.ndim == 1 for part in (data, indices, starts)) and len(data) == len(indices)
        if not fits or indices.dtype.kind not in "iu" or starts.dtype.kind not in "iu" or min(rows, columns) < 0:
            raise ValueError("a sparse matrix of other parts than such have")
        counts: np.ndarray = np.diff(starts.astype(np.int64))
        if len(counts) != lines or starts[0] != 0 or starts[-1] != len(indices) or counts.min(initial=0) < 0:
            raise ValueError("a sparse matrix whose parts do not fit")
        if indices.min(initial=0) < 0 or indices.max(initial=-1) >= width:
            raise IndexError("an index beyond a sparse matrix")
        values.spend(rows * columns * data.itemsize)
        dense = np.zeros((lines, width), data.dtype)
        np.add.at(dense, (np.repeat(np.arange(lines), counts), indices), data)
        return dense.T if self.by_column else dense

    def _part(self, name: str) -> Any:
        return self.state.get(name, self.state.get(f"_{name}"))


class _CompressedRows(_Compressed):
    by_column = False


class _Ch(Inert):
    """chumpy's constant."""

    def value(self, values: Values) -> np.ndarray:
        return values.array(self.state["x"])


class _Select(Inert):
    def value(self, values: Values) -> np.ndarray:
        array, index = values.array(self.state["a"]), values.array(self.state["idxs"])
        values.spend(array.nbytes + array.itemsize * index.size)
        selected = array.ravel()[index]
        return selected.reshape(self.state["preferred_shape"]) if "preferred_shape" in self.state else selected


class _Reshape(Inert):
    def value(self, values: Values) -> np.ndarray:
        array = values.array(self.state["a"])
        values.spend(array.nbytes)  # a transposed array is copied
        return array.reshape(self.state["newshape"])


class _Transpose(Inert):
    def value(self, values: Values) -> np.ndarray:
        return np.transpose(values.array(self.state["a"]), self.state.get("axes"))


# Modules inside these packages have moved over the years; the names have not.
_BY_PACKAGE: dict[tuple[str, str], type[Inert]] = {
    ("scipy", "csc_matrix"): _Compressed,
    ("scipy", "csr_matrix"): _CompressedRows,
    ("chumpy", "Ch"): _Ch,
    ("chumpy", "Select"): _Select,
    ("chumpy", "reshape"): _Reshape,
    ("chumpy", "transpose"): _Transpose,
}


def _names(module: str, name: str) -> Any:
    return common_names(module, name) or _BY_PACKAGE.get((module.split(".", maxsplit=1)[0], name))


def read_arrays(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays called `names` in a pickled mapping, where they exist. Raises UserError on anything else."""
    with refusing(path, "an SMPL model file", "Is it an SMPL model file?"):
        content = read(path, _names)
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping of names to arrays")
        values = Values(min(LARGEST * path.stat().st_size + SLACK, MOST_BYTES))
        return {name: values.array(content[name]) for name in names if name in content}
