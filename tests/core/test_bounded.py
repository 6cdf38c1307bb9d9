"""Readers that no file can hurt: other kinds of files, sizes that lie, arrays that are none."""

import os
import socket
import zipfile

import numpy as np
import psutil
import pytest

from ag3d.core.bounded import (
    allowance,
    open_regular,
    open_zip,
    parse_json,
    read_bytes,
    read_entry,
    read_npy,
    read_npz,
    read_text,
)
from ag3d.core.errors import UserError
from ag3d.core.shards import decode_image, encode_png


def grown(before):
    return psutil.Process().memory_info().rss - before


@pytest.fixture
def memory():
    return psutil.Process().memory_info().rss


@pytest.fixture
def special(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "link-to-pipe").symlink_to("pipe")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "socket"))
    yield tmp_path
    bound.close()


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("pipe", "pipe"),
        ("folder", "folder"),
        ("zero", "device"),
        ("loop", "opened"),
        ("dangling", "exist"),
        ("link-to-pipe", "pipe"),
        ("socket", "socket"),
        ("nul\0byte", "opened"),
        ("x" * 300, "opened"),
    ],
)
@pytest.mark.timeout(20)
def test_only_files_are_opened(special, name, word):
    for read in (open_regular, read_bytes, read_text, read_npy, read_npz, open_zip):
        with pytest.raises(UserError, match=word):
            read(special / name)


def test_a_file_that_is_too_long(tmp_path):
    (tmp_path / "x").write_bytes(bytes(101))
    assert len(read_bytes(tmp_path / "x", 101)) == 101
    with pytest.raises(UserError, match="larger than"):
        read_bytes(tmp_path / "x", 100)
    with pytest.raises(UserError, match="UTF-8"):
        (tmp_path / "x").write_bytes(b"\xff")
        read_text(tmp_path / "x")


@pytest.mark.parametrize("dtype", ["f4", ">f8", "i2", "?", "c8", "U7", "S3", "f2"])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("order", "CF")
def test_arrays_come_back(tmp_path, dtype, shape, order):
    values = np.asarray(np.random.default_rng(0).integers(0, 9, shape)).astype(dtype).copy(order=order)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", a=values, b=values)
    with read_npz(tmp_path / "a.npz") as archive:
        assert set(archive) == {"a", "b"}
        for read in (read_npy(tmp_path / "a.npy"), archive["a"]):
            assert (read.dtype, read.shape) == (values.dtype, values.shape)
            assert np.array_equal(read, values)
            assert read.flags.writeable


def header(shape, dtype="<f4"):
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "data",
    [
        header((10**12, 111)) + bytes(1000),
        header((-1, 4)) + bytes(16),
        header((True, 4)) + bytes(16),
        header((1,) * 70) + bytes(4),
        header((2**63, 2**63)),
        header((3,)) + bytes(8),
        header((3,)) + bytes(16),
        header("(" * 400),
        header((2,), [("a", "<f4")]) + bytes(8),
        header((2,), "|O") + b"cos\nsystem\n.",
        header((2,), "|V8") + bytes(16),
        header((10**30,), "<U0"),
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY",
        b"",
    ],
)
def test_arrays_that_are_none(tmp_path, data, memory):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.npy") as told:
        read_npy(tmp_path / "a.npy")
    assert "allow_pickle" not in str(told.value)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("good.npy", header((1,)) + bytes(4))
        archive.writestr("bad.npy", data)
    with read_npz(tmp_path / "a.npz") as arrays:
        assert arrays["good"] == 0
        with pytest.raises(UserError, match=r"a\.npz: 'bad'"):
            arrays["bad"]
    assert grown(memory) < 2**26


def test_an_archive_that_unpacks_to_gigabytes(tmp_path, memory):
    path = tmp_path / "bomb.npz"
    size = allowance(0) + 2**26
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as entry,
    ):
        entry.write(header((size // 4,)))
        for _ in range(size // 2**24):
            entry.write(bytes(2**24))
    with read_npz(path) as arrays, pytest.raises(UserError, match="unpack"):
        arrays["a"]
    assert grown(memory) < 2**26


def test_many_arrays_share_one_allowance(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **{f"a{k}": np.zeros(2**24, np.float32) for k in range(6)})
    with read_npz(tmp_path / "a.npz") as arrays, pytest.raises(UserError, match="unpack"):
        for name in arrays:
            arrays[name]


def test_zips_that_lie(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"content")
    with open_zip(tmp_path / "a.zip") as archive:
        assert read_entry(archive, "x", "a.zip") == b"content"
        with pytest.raises(UserError, match="no entry 'y'"):
            read_entry(archive, "y", "a.zip")
        with pytest.raises(UserError, match="unpack"):
            read_entry(archive, "x", "a.zip", most=3)
    for data in (b"", b"PK", (tmp_path / "a.zip").read_bytes()[:-5]):
        (tmp_path / "b.zip").write_bytes(data)
        with pytest.raises(UserError, match=r"b\.zip"):
            open_zip(tmp_path / "b.zip")


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "9" * 5000, "", "{", b"\xff\xfe", "[" + "{}," * 10_000_000, '{"a":' * 100_000]
)
def test_json_that_is_none_or_too_much(text, memory):
    with pytest.raises(UserError, match="x.json"):
        parse_json(text, "x.json")
    assert grown(memory) < 2**27


@pytest.mark.parametrize("length", [2**32 - 1, 2**31, 3_700_000_000, 100])
def test_a_chunk_that_reaches_beyond_its_file(length, memory):
    data = bytearray(encode_png(np.zeros((8, 8, 3), np.uint8)))
    start = data.index(b"IDAT") - 4
    data[start : start + 4] = length.to_bytes(4, "big")
    with pytest.raises(UserError, match="x.png"):
        decode_image(bytes(data), "x.png")
    assert grown(memory) < 2**24


def test_pictures_of_16_bits_and_of_palettes():
    import io

    from PIL import Image

    grey16 = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    buffer = io.BytesIO()
    Image.fromarray(grey16).save(buffer, "PNG")
    assert np.array_equal(decode_image(buffer.getvalue(), "x"), grey16 >> 8)
    colours = np.random.default_rng(0).integers(0, 4, (8, 8, 3)).astype(np.uint8) * 60
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        buffer = io.BytesIO()
        picture = Image.fromarray(colours)
        (picture.quantize(64) if kind in ("PNG", "GIF") else picture).save(buffer, kind)
        assert np.abs(decode_image(buffer.getvalue(), "x").astype(int) - colours).max() < 3, kind
