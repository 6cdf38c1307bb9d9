"""The reader of pickles keeps within the file's own means, whatever its instructions are."""

from __future__ import annotations

import os
import pickle
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from ag3d.core.errors import UserError
from ag3d.model.body.smpl_pickle import read_arrays
from ag3d.model.safe_pickle import unpickler
from ag3d.model.safe_pickle.unpickler import Values, common_names, read, refusing


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def array(shape: tuple[int, ...], kind: str, raw: bytes) -> bytes:
    """An array by numpy's instructions, whether shape and bytes agree or not."""
    sizes = b"(" + b"".join(b"J" + n.to_bytes(4, "little", signed=True) for n in shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\n("
        + text(kind)
        + b"I0\nI1\ntR(I3\n"
        + text("<")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffI0\ntb"
    )
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR(I1\n"
    return head + sizes + dtype + b"I00\n" + b"B" + len(raw).to_bytes(4, "little") + raw + b"tb"


def sparse(data: bytes, indices: bytes, starts: bytes) -> bytes:
    parts = text("data") + data + text("indices") + indices + text("indptr") + starts
    return (
        b"\x80\x03}"
        + text("v_template")
        + b"cscipy.sparse\ncsc_matrix\n(tR}("
        + parts
        + text("shape")
        + b"K\x01K\x01\x86ubs."
    )


def numbers(kind: str, *values: int) -> bytes:
    return array((len(values),), kind, np.array(values, kind).tobytes())


EQUAL_HASHES = [number * sys.hash_info.modulus for number in range(2, 40_000)]
OVER_AND_OVER = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (n, n, n + 1) for n in range(60)) + b"h\x3c"
BAD: dict[str, Callable[[], bytes]] = {
    "a place in the memo with leading zeros": lambda: b"}p000000000001000000000\n.",
    "a place in the memo of many digits": lambda: b"}p" + b"9" * 100_000 + b"\n.",
    "a number of many digits": lambda: b"(dI1" + b"0" * 1_000_000 + b"\nNs.",
    "starts that go backwards": lambda: sparse(numbers("f4", *range(5)), numbers("i4", 0, 0, 0, 0, 0), numbers("i8", -(10**9), 5)),
    "starts that wrap": lambda: sparse(numbers("f4", *range(5)), numbers("i4", 0, 0, 0, 0, 0), numbers("u4", 10, 5)),
    "indices in columns": lambda: sparse(
        numbers("f4", *[0] * 9000), array((9000, 1), "i4", bytes(36_000)), numbers("i4", 0, 9000)
    ),
    "keys of equal hashes": lambda: pickle.dumps({"v_template": dict.fromkeys(EQUAL_HASHES)}, 4),
    "members of equal hashes": lambda: pickle.dumps({"v_template": set(EQUAL_HASHES)}, 4),
    "frozen members of equal hashes": lambda: pickle.dumps({"v_template": frozenset(EQUAL_HASHES)}, 4),
    "keys of tuples": lambda: pickle.dumps({"v_template": {(1, 2): 3}}, 2),
    "a key nested without end": lambda: b"})" + b"\x85" * 500_000 + b"Ns.",
    "an array of a stated number of bytes": lambda: b"}" + text("v_template") + array((1,), "u1", b"").replace(
        b"B\0\0\0\0", b"J\0\0\0\x70"
    ) + b"s.",
    "an array whose kind is a list over and over": lambda: b"(d" + text("v_template")
    + b"cnumpy\n_frombuffer\n(B\0\0\0\0cnumpy\ndtype\n(" + OVER_AND_OVER + b"tRK\x00\x85" + text("C") + b"tRs.",
    "compressed by joblib": lambda: zlib.compress(pickle.dumps({"v_template": np.zeros(3)})),
    "empty": lambda: b"",
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_refused_in_little_time_and_memory(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(BAD[kind]())
    before, start = psutil.Process().memory_info().rss, time.process_time()
    with pytest.raises(UserError, match="model.pkl"):
        read_arrays(path, ("v_template",))
    assert time.process_time() - start < 5
    assert psutil.Process().memory_info().rss - before < 2**28


def test_numbers_as_keys_are_read(tmp_path: Path) -> None:
    content = {"a": 1, b"b": [2], 3: None, None: {4, "c", -(2**40)}, True: (5,)}
    for protocol in range(6):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
        with refusing(tmp_path / "a.pkl", "a file", ""):
            found = read(tmp_path / "a.pkl", common_names)
        assert found["a"] == 1
        assert found[3] is None
        assert found[True] == (5,)
        assert len(found) == len(content)


def test_functions_that_the_reader_hands_out_cannot_be_changed(tmp_path: Path) -> None:
    data = b"ccopyreg\n_reconstructor\n(N}S'__defaults__'\n(cbuiltins\nobject\nNtstb."
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(UserError, match="refused"), refusing(tmp_path / "a.pkl", "a file", ""):
        read(tmp_path / "a.pkl", common_names)
    assert unpickler._reconstructor.__defaults__ is None


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    for name, word in (("pipe.pkl", "a named pipe"), (".", "a folder"), ("none.pkl", "does not exist")):
        with pytest.raises(UserError, match=word), refusing(tmp_path / name, "a file", ""):
            read(tmp_path / name, common_names)


def test_nothing_is_won_by_spending_less_than_nothing() -> None:
    values: Any = Values(10)
    with pytest.raises(ValueError, match="larger"):
        values.spend(-5)
