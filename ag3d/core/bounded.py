"""Reading files that anybody may have made: regular files only, and memory in proportion to the file.

Whoever reads a file of the user's opens it with `open_regular` (or reads it with `read_bytes`, `read_text`, `parse_json`,
`read_npy`, `read_npz`, `open_zip` and `read_entry`). Everything that is wrong with it is a UserError that names it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

import numpy as np

from ag3d.core.errors import UserError

MOST_BYTES = 2**31  # of memory for one file, whatever it says
SMALL_BYTES = 2**28  # of memory that any file may ask for, however small it is
MOST_RATIO = 50  # bytes of memory for each byte of a file, beyond SMALL_BYTES
MOST_TEXT = 2**30  # bytes of a text
_PART = 2**20  # bytes at once

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}
_ARRAYS_OF = "biufcSU"  # kinds of NumPy types that are values and not Python objects


def allowance(size: int) -> int:
    """How many bytes of memory the content of a file of `size` bytes may take."""
    return min(MOST_BYTES, SMALL_BYTES + MOST_RATIO * size)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a file for reading, of which it is sure that reading ends: no pipe, device, socket, folder, nor link to one.

    Raises:
        UserError: it does not exist, is of another kind, or may not be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENXIO, errno.ENODEV):
            raise UserError(f"{path} is a socket or a device, not a file") from error
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"{path} cannot be opened: {reason}") from error
    kind = stat.S_IFMT(os.fstat(handle).st_mode)
    if kind != stat.S_IFREG:
        os.close(handle)
        raise UserError(f"{path} is {_KINDS.get(kind, 'something special')}, not a file")
    return os.fdopen(handle, "rb")


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """A whole file of at most `most` bytes. A file that claims no size (of /proc) is read up to that as well."""
    with open_regular(path) as handle:
        try:
            data = handle.read(most + 1)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise UserError(f"{path} is larger than {most / 2**20:,.0f} MB; it is no file of this kind")
    return data


def read_text(path: str | os.PathLike[str], most: int = MOST_TEXT) -> str:
    """A whole UTF-8 text of at most `most` bytes."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8: {error}") from error


def parse_json(data: bytes | str, name: str, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """JSON to values, unless they would take more than MOST_BYTES; `pairs` makes an object of its keys and values. Raises
    UserError that names `name`."""
    text = data.encode() if isinstance(data, str) else data
    # What values take at most: an object of one key 250 bytes, every other value 64 beside the text itself.
    memory = len(text) + 250 * text.count(b"{") + 64 * (text.count(b",") + text.count(b"[") + text.count(b":"))
    if memory > MOST_BYTES:
        raise UserError(f"{name} holds more values than fit into {MOST_BYTES / 2**30:.0f} GB")
    try:
        return json.loads(data, object_pairs_hook=pairs)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{name} is not valid JSON: {reason}") from error


def open_zip(path: str | os.PathLike[str]) -> zipfile.ZipFile:
    """A zip archive. Raises UserError where it is none, or is not whole."""
    open_regular(path).close()
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # damaged directories fail in many ways
        raise UserError(f"{path} is not a whole zip file ({error}); delete it and run again") from error


def read_entry(archive: zipfile.ZipFile, name: str, where: str, most: int = MOST_BYTES) -> bytes:
    """One entry of a zip, of at most `most` bytes and within the allowance of what it takes in the archive."""
    with open_entry(archive, name, where, most) as stream:
        return stream.read()


@contextlib.contextmanager
def open_entry(archive: zipfile.ZipFile, name: str, where: str, most: int = MOST_BYTES) -> Iterator[IO[bytes]]:
    """As `read_entry`, to be read in parts."""
    try:
        entry = archive.getinfo(name)
        limit = min(most, allowance(entry.compress_size))
        if entry.file_size > limit:
            sizes = f"from {entry.compress_size:,} to {entry.file_size:,} bytes; at most {limit:,} are read"
            raise UserError(f"{where}: entry '{name}' would unpack {sizes}")
        with archive.open(entry) as stream:
            yield stream
    except KeyError as error:
        raise UserError(f"{where} has no entry '{name}'") from error
    except (NotImplementedError, RuntimeError) as error:  # unknown compression, a password
        raise UserError(f"{where}: entry '{name}' cannot be read ({error}); pack the files anew") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, LZMAError, OverflowError) as error:
        raise UserError(f"{where}: entry '{name}' is damaged ({error}); get or make the file anew") from error


def _array(stream: IO[bytes], size: int, name: str) -> np.ndarray:
    """The array of a .npy of `size` bytes, straight into its memory. Never Python objects."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
    except Exception as error:  # its header is a Python literal, and fails in all the ways of one
        raise UserError(f"{name} is no array of NumPy's (.npy), or is damaged") from error
    if dtype.kind not in _ARRAYS_OF or dtype.hasobject:
        raise UserError(f"{name} holds Python objects or records, not numbers; they are not read: save plain arrays")
    if len(shape) > 32 or any(type(side) is not int or side < 0 for side in shape):
        raise UserError(f"{name} has a shape that no array has: damaged")
    left, count = size - stream.tell(), math.prod(shape)
    if not 0 <= count < 2**40 or count * dtype.itemsize != left:
        raise UserError(f"{name} states {list(shape)} values and has {left:,} bytes: damaged, or cut off")
    raw = np.empty(left, np.uint8)
    place = 0
    while place < left and (part := stream.read(min(_PART, left - place))):
        raw[place : place + len(part)] = np.frombuffer(part, np.uint8)
        place += len(part)
    if place < left or stream.read(1):  # beyond the last byte, zips compare the checksum
        raise UserError(f"{name} is damaged, or cut off")
    values = raw.view(dtype) if left else np.zeros(count, dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """A .npy file's array of numbers or text."""
    with open_regular(path) as handle:
        size = os.fstat(handle.fileno()).st_size
        if size > MOST_BYTES:
            raise UserError(f"{path} is larger than {MOST_BYTES / 2**20:,.0f} MB; it is no file of this kind")
        return _array(handle, size, str(path))


class Arrays(Mapping[str, np.ndarray]):
    """The arrays of an .npz file, each read when it is asked for, together within the file's allowance."""

    def __init__(self, archive: zipfile.ZipFile, path: str, most: int) -> None:
        self._archive = archive
        self._path = path
        self._left = most
        self._names = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._names[name]
        with open_entry(self._archive, entry, self._path, self._left) as stream:
            size = self._archive.getinfo(entry).file_size
            self._left -= size
            return _array(stream, size, f"{self._path}: '{name}'")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> Arrays:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()


def read_npz(path: str | os.PathLike[str]) -> Arrays:
    """The arrays of an .npz file; use it with `with`."""
    with open_regular(path) as handle:
        start = handle.read(4)
        size = os.fstat(handle.fileno()).st_size
    if not start.startswith(b"PK"):
        raise UserError(f"{path} is no .npz file" + (": it is a single array (.npy)" if start == b"\x93NUM" else ""))
    try:
        archive = open_zip(path)
    except UserError as error:
        raise UserError(f"{path} is no .npz file, or not all of it; make or copy it anew") from error
    return Arrays(archive, str(Path(path)), allowance(size))
