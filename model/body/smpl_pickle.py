"""SMPL's official .pkl files, written from chumpy's and scipy's classes, read without executing anything in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
        if len(starts) != lines + 1 or starts[-1] != len(indices):
            raise ValueError("a sparse matrix whose parts do not fit")
        values.spend(rows * columns * data.itemsize)
        dense = np.zeros((lines, width), data.dtype)
        if indices.min(initial=0) < 0:
            raise IndexError("a negative index in a sparse matrix")
        np.add.at(dense, (np.repeat(np.arange(lines), np.diff(starts)), indices), data)
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
        values = Values(LARGEST * path.stat().st_size + SLACK)
        return {name: values.array(content[name]) for name in names if name in content}
