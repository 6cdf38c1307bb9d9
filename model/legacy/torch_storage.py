"""The bytes of a tensor inside a released checkpoint: one storage in PyTorch's old file format, parsed by hand.

The blob is five pickles (magic number, version, properties of the machine, the storage's kind, its key) and then the
number of elements (int64) and the elements. `torch.load` would believe the sizes that the pickles state.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from ag3d.model.safe_pickle.scanner import check_pickle
from ag3d.model.safe_pickle.unpickler import Refused

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
HEADER = 200  # instructions of each of the small pickles before the numbers
_DTYPES = {
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"},
    **{"IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1", "BoolStorage": "?"},
}


class _Header(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module not in ("torch", "torch.cuda", "torch.storage") or name not in _DTYPES:
            raise Refused(f"{module}.{name}")
        return np.dtype(_DTYPES[name])

    def persistent_load(self, identity: Any) -> Any:
        return identity


def read_storage(data: bytes) -> np.ndarray:
    """The elements, flat, sharing memory with `data`. Raises ValueError, EOFError or UnpicklingError."""
    parts: list[Any] = []
    position = 0
    for _ in range(5):
        end = check_pickle(data, position, HEADER, persistent=True)
        parts.append(_Header(io.BytesIO(data[position:end])).load())
        position = end
    magic, version, machine, identity, keys = parts
    if magic != MAGIC or version != VERSION or not machine["little_endian"]:
        raise ValueError("a tensor's data is not in PyTorch's format")
    kind, dtype, key, _, number, view = identity
    if kind != "storage" or not isinstance(dtype, np.dtype) or keys != [key] or view is not None:
        raise ValueError("a tensor's data is not one storage")
    stored = int.from_bytes(data[position : position + 8], "little")
    if stored != number or len(data) != position + 8 + number * dtype.itemsize:
        raise ValueError(f"a tensor states {number} numbers, its data has {len(data) - position - 8} bytes")
    return np.frombuffer(data, dtype, number, position + 8)
