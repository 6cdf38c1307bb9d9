"""How numpy's arrays and archives of them are damaged."""

from __future__ import annotations

import functools
import io
from random import Random

import numpy as np

from tests.fuzz import zips
from tests.fuzz.mutators import in_bytes

_TYPES = [
    "f2",
    "f4",
    "f8",
    "i1",
    "i8",
    "u1",
    "u8",
    "?",
    "c8",
    "U3",
    "S2",
    "O",
    "M8[s]",
    "V4",
    ">f4",
    [("a", "f4"), ("b", "i2")],
]
_SHAPES = [
    "()",
    "(0,)",
    "(-1,)",
    "(10**12,)",
    "(1000000000000,)",
    "(3, 1000000000)",
    "(9223372036854775808,)",
    "(True,)",
    "(1.5,)",
]
_SHAPES += ["'x'", "(2,)*9", "[3]", "None", "(" * 100, "(1,)" * 3, "(" + "1, " * 70 + ")"]


def changed_array(random: Random, array: np.ndarray) -> np.ndarray:
    """Another type, shape, length or order, or a few odd values."""
    kind = random.randrange(10)
    if kind <= 1 and array.size and array.dtype.kind in "fiu":
        array = array.copy()
        odd = [np.nan, np.inf, 1e38, -1, 0, 1e300] if array.dtype.kind == "f" else [0, -1, 127, 2**31 - 1]
        with np.errstate(all="ignore"):
            array.flat[random.randrange(array.size)] = np.array(random.choice(odd)).astype(array.dtype)
        return array
    if kind <= 3:
        with np.errstate(all="ignore"):
            return array.astype(random.choice(_TYPES))
    if kind == 4:
        return random.choice((array.ravel(), array[None], array[..., None], array.T, array.reshape(-1)[:1].reshape(())))
    if kind == 5:
        return array[: random.choice((0, 1, 2, -1))]
    if kind == 6:
        return np.concatenate([array] * random.choice((2, 3, 7)))
    if kind == 7:
        return array[..., : random.choice((0, 1, 2, -1))]
    if kind == 8:
        return np.array(random.choice(("x", 3, 0.5, [], [[]], True, b"x", [1, 2, 3], 2**63)))
    return np.asfortranarray(array)


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    return out.getvalue()


def in_npy(random: Random, data: bytes) -> bytes:
    kind = random.randrange(5)
    if kind <= 2:
        return npy(changed_array(random, np.lib.format.read_array(io.BytesIO(data), allow_pickle=True)))
    if kind == 3:
        return in_bytes(random, data)
    size = int.from_bytes(data[8:10], "little")
    text = f"{{'descr': {random.choice(_TYPES)!r}, 'fortran_order': False, 'shape': {random.choice(_SHAPES)}, }}"
    if random.random() < 0.3:
        text = in_bytes(random, data[10 : 10 + size]).decode("latin1")
    header = text.encode("latin1").ljust(118) + b"\n"
    return (
        data[:6]
        + bytes([random.choice((1, 1, 1, 2, 3, 9)), 0])
        + (len(header) % 65536).to_bytes(2, "little")
        + header
        + data[10 + size :]
    )


def in_npz(random: Random, data: bytes) -> bytes:
    return _IN_ARRAYS(random, data)


@functools.cache
def _zeros(megabytes: int) -> zips.Member:
    header = npy(np.zeros((megabytes << 18, 1), np.float32)[:0]).replace(
        b"(0, 1)", f"({megabytes << 18}, 1)".encode(), 1
    )
    return zips.deflated("", [header, *[bytes(1 << 20)] * megabytes])


def _big_array(name: str) -> zips.Member:
    """A kilobyte for each megabyte of zeros."""
    return _zeros(400)._replace(name=name)


_IN_ARRAYS = zips.in_members({"": in_npy, ".npy": in_npy}, _big_array)
