"""Pickles by hand: written from an assembler of one value each, invented by a grammar, and damaged by instructions."""

from __future__ import annotations

import functools
import pickletools
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.mutators import GROWN, NUMBERS, RARELY, TEXTS, in_bytes

KEYS = [
    "v_template",
    "shapedirs",
    "posedirs",
    "J_regressor",
    "weights",
    "f",
    "faces",
    "landmarks",
    "G_ema",
    "G",
    "D",
    "progress",
]
KEYS += [
    "pose",
    "betas",
    "pred_cam",
    "bboxes",
    "rotmat",
    "image_name",
    "global_orient",
    "body_pose",
    "camera_translation",
    "x",
]
FORBIDDEN = [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("numpy", "load"),
    ("numpy.os", "system"),
]
FORBIDDEN += [
    ("dill._dill", "_create_function"),
    ("torch.storage", "_load_from_bytes"),
    ("a.b", "c"),
    ("", ""),
    ("builtins", "object"),
]


# ---- the assembler: each function returns instructions that leave one value on the stack


def number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw if len(raw) < 256 else b"\x8b" + struct.pack("<i", len(raw)) + raw


def text(value: str) -> bytes:
    raw = value.encode(errors="surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode(errors="replace")


def several(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def listed(*values: bytes) -> bytes:
    return b"](" + b"".join(values) + b"e"


def mapping(pairs: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return named(module, name) + several(*arguments) + b"R"


def built(module: str, name: str, state: bytes) -> bytes:
    """An object of that class with that state."""
    return named(module, name) + b")\x81" + state + b"b"


def dtype(name: str, order: str = "<") -> bytes:
    state = several(number(3), text(order), b"N", b"N", b"N", number(-1), number(-1), number(0))
    return called("numpy", "dtype", text(name), b"\x89", b"\x88") + state + b"b"


def laid_out(shape: tuple[int, ...], kind: str, content: bytes, fortran: bool = False) -> bytes:
    """An array of numpy that states that shape and type."""
    made = called("numpy.core.multiarray", "_reconstruct", named("numpy", "ndarray"), several(number(0)), raw(b"b"))
    sides = several(*map(number, shape))
    return made + several(number(1), sides, dtype(kind), b"\x88" if fortran else b"\x89", raw(content)) + b"b"


def array(values: Any) -> bytes:
    values = np.ascontiguousarray(values)
    return laid_out(values.shape, values.dtype.str[1:], values.tobytes())


def sparse(values: np.ndarray, **changes: bytes) -> bytes:
    """A matrix of scipy, compressed by columns."""
    columns = [np.flatnonzero(values[:, k]) for k in range(values.shape[1])]
    parts = {
        "data": array(np.concatenate([values[rows, k] for k, rows in enumerate(columns)])),
        "indices": array(np.concatenate(columns).astype(np.int32)),
        "indptr": array(np.cumsum([0, *map(len, columns)]).astype(np.int32)),
        "_shape": several(*map(number, values.shape)),
    }
    return built("scipy.sparse.csc", "csc_matrix", mapping({**parts, **changes}))


# ---- the grammar


def invented(random: Random, data: bytes) -> bytes:
    """A pickle that nobody wrote; `data` does not matter."""
    keys = random.sample(KEYS, random.randrange(1, 6))
    content = mapping({key: _value(random, 0) for key in keys})
    if random.random() < 0.15:
        content = _value(random, 0)
    if random.random() < 0.3:
        content = in_instructions(random, content + b".")[:-1]
    return (b"\x80\x04" if random.random() < 0.5 else b"") + content + b"."


def _odd(random: Random) -> int:
    return random.choice((0, 1, 2, 3, 5, 24, -1, -(10**9), random.choice(NUMBERS)))


def _value(random: Random, depth: int) -> bytes:
    simple = random.random() < 0.25 or depth > 5
    return random.choice(_SIMPLE if simple else _NESTED)(random, depth + 1)


def _any_array(random: Random, depth: int) -> bytes:
    kind = random.choice(("f4", "f8", "i4", "i8", "u1", "u4", "b1", "O8", "V3", "U2", "M8", "f9", "c8", ""))
    if random.random() < 0.6:
        shape = tuple(random.choice((0, 1, 2, 3, 10, 24)) for _ in range(random.randrange(4)))
        width = int(kind[1:] or 1) if kind[1:].isdigit() else 1
        return laid_out(shape, kind, bytes(min(int(np.prod(shape)) * width, 10**5)), random.random() < 0.3)
    return laid_out(
        tuple(_odd(random) for _ in range(random.randrange(4))), kind, random.randbytes(random.choice((0, 8, 64)))
    )


def _compressed(random: Random, depth: int) -> bytes:
    lines = random.choice((1, 2, 3, 24))
    starts = [_odd(random) for _ in range(lines + 1)] if random.random() < 0.7 else list(range(lines + 1))
    kind = random.choice((np.int32, np.int64, np.uint32))
    changes = {
        "indptr": array(
            np.array(starts, dtype=object).astype(object).clip(-(2**31), 2**31 - 1).astype(np.int64).astype(kind)
        ),
        "indices": array(np.array([random.choice((0, 1, -1, 2**31 - 1)) for _ in range(3)], np.int32)),
        "_shape": several(number(_odd(random)), number(random.choice((lines, _odd(random))))),
    }
    chosen = {name: change for name, change in changes.items() if random.random() < 0.6}
    return sparse(np.eye(3, lines), **chosen)


def _expression(random: Random, depth: int) -> bytes:
    inner = _value(random, depth)
    state = {
        "a": inner,
        "x": inner,
        "idxs": _any_array(random, depth),
        "newshape": several(number(_odd(random)), number(-1)),
        "axes": b"N",
    }
    name = random.choice(("Ch", "Select", "reshape", "transpose"))
    return built(f"chumpy.{name.lower()}", name, mapping(state))


def _tensor(random: Random, depth: int) -> bytes:
    """torch's, in the old layout of its storages."""
    count = random.choice((0, 1, 6, _odd(random)))
    kind = random.choice(("FloatStorage", "LongStorage", "BoolStorage", "Storage"))
    identity = several(text("storage"), named("torch", kind), text("0"), text("cpu"), number(count), b"N")
    parts = [
        number(0x1950A86A20F9469CFC6C),
        number(1001),
        mapping({"little_endian": b"\x88"}),
        b"\x80\x02" + identity + b"Q",
        listed(text("0")),
    ]
    blob = b"".join(b"\x80\x02" + part + b"." for part in parts)
    blob += (count % 2**64).to_bytes(8, "little") + bytes(24)
    storage = (
        called("torch.storage", "_load_from_bytes", raw(blob)) if random.random() < 0.7 else _any_array(random, depth)
    )
    size, stride = ((number(_odd(random)), number(_odd(random))) for _ in range(2))
    made = called(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage,
        number(_odd(random)),
        several(*size),
        several(*stride),
        b"\x89",
        mapping({}),
    )
    return called("torch._utils", "_rebuild_parameter", made, b"\x88", mapping({})) if random.random() < 0.3 else made


def _module(random: Random, depth: int) -> bytes:
    """A network of the released layout."""
    names = ("_parameters", "_buffers", "_modules")
    parts = {name: mapping({random.choice(KEYS): _value(random, depth) for _ in range(2)}) for name in names}
    meta = mapping({"state": mapping(parts), "type": text("class")})
    return called("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def _one(random: Random) -> bytes:
    """A shape of one side."""
    return several(number(_odd(random)))


_OBJECT = named("builtins", "object")
ENCODINGS = ("latin1", "utf-7", "x")
_SIMPLE: list[Callable[[Random, int], bytes]] = [
    lambda random, _: number(_odd(random)),
    lambda random, _: text(random.choice(TEXTS)),
    lambda random, _: raw(random.randbytes(random.choice((0, 1, 8, 100)))),
    lambda random, _: random.choice((b"N", b"\x88", b"\x89", b")", b"]", b"}", b"\x8f", b"G" + random.randbytes(8))),
    lambda random, _: named(*random.choice(FORBIDDEN)),
    _any_array,
]
_NESTED: list[Callable[[Random, int], bytes]] = [
    _any_array, _any_array, _compressed, _expression, _tensor, _module,
    lambda random, depth: several(*(_value(random, depth) for _ in range(random.randrange(4)))),
    lambda random, depth: listed(*(_value(random, depth) for _ in range(random.randrange(4)))),
    lambda random, depth: mapping({random.choice(KEYS): _value(random, depth) for _ in range(3)}),
    lambda random, depth: called(*random.choice(FORBIDDEN), _value(random, depth)),
    lambda random, _: called("_codecs", "encode", text(random.choice(TEXTS)), text(random.choice(ENCODINGS))),
    lambda random, depth: called("collections", "OrderedDict", _value(random, depth)),
    lambda random, depth: called("builtins", "set", _value(random, depth)),
    lambda random, _: called("numpy.core.multiarray", "scalar", dtype(random.choice(("f8", "i8", "O8"))), raw(bytes(8))),
    lambda random, _: called("copyreg", "_reconstructor", named(*random.choice(FORBIDDEN)), _OBJECT, b"N"),
    lambda random, _: called("numpy.core.numeric", "_frombuffer", raw(bytes(24)), dtype("f4"), _one(random), text("C")),
    lambda random, depth: _value(random, depth) + b"q\x05h\x05" + b"0",
    lambda random, depth: _value(random, depth) + _value(random, depth) + b"b",
]  # fmt: skip


# ---- damage

_INSTRUCTIONS = [
    b"(",
    b")",
    b"0",
    b"1",
    b"2",
    b"N",
    b"R",
    b"b",
    b"\x81",
    b"\x92",
    b"o",
    b"a",
    b"e",
    b"s",
    b"u",
    b"t",
    b"\x85",
    b"\x86",
]
_INSTRUCTIONS += [
    b"\x87",
    b"\x90",
    b"\x91",
    b"\x93",
    b"\x94",
    b"\x97",
    b"\x98",
    b"Q",
    b".",
    b"Pid\n",
    b"\x82\x01",
    b"\x84\xff\xff\xff\x7f",
]
_INSTRUCTIONS += [
    b"q\xff",
    b"r\xff\xff\xff\x7f",
    b"h\x00",
    b"j\xff\xff\xff\xff",
    b"p000000000001000000000\n",
    b"p-1\n",
    b"gx\n",
    b"g0\n",
]
_INSTRUCTIONS += [
    b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x8b\xff\xff\xff\x7f",
    b"I1\n",
]
_INSTRUCTIONS += [
    b"L" + b"9" * 5000 + b"L\n",
    b"I00\n",
    b"Fnan\n",
    b"S'a\\x'\n",
    b"V\\u\n",
    b"T\xff\xff\xff\x7f",
    b"\x96\0\0\0\0\xff\0\0\0",
]


@functools.lru_cache(maxsize=64)
def _boundaries(data: bytes) -> list[int]:
    """Where instructions begin."""
    places = []
    try:
        for _, _, place in pickletools.genops(data):
            places.append(place or 0)
    except Exception:  # the rest is none
        pass
    return [*places, len(data)]


def in_instructions(random: Random, data: bytes) -> bytes:
    """Instructions dropped, repeated, exchanged, or others put between."""
    places = _boundaries(data)
    if random.random() < RARELY:
        start, end = sorted(random.choices(places, k=2))
        return data[:start] + data[start:end] * min(GROWN // max(1, end - start), 200_000) + data[end:]
    for _ in range(random.choice((1, 1, 2, 4))):
        here = random.randrange(len(places) - 1)
        start, end = places[here], places[min(here + random.choice((1, 1, 2, 5)), len(places) - 1)]
        other = random.randrange(len(places) - 1)
        elsewhere = data[places[other] : places[other + 1]]
        change = random.choice(
            (
                b"",
                data[start:end] * 2,
                elsewhere,
                random.choice(_INSTRUCTIONS),
                data[start:end] + random.choice(_INSTRUCTIONS),
            )
        )
        if random.random() < 0.2:
            change = in_bytes(random, data[start:end])
        data = data[:start] + change + data[end:]
        places = [place for place in places if place <= start] + [len(data)]
    return data
