"""Uncompressed zip files of images: written once, read at random with the standard library."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ag3d.core.bounded import open_zip, parse_json, read_entry
from ag3d.core.errors import UserError
from ag3d.core.files import atomic

RECORD = "record.json"
LARGEST = 2**30  # bytes of an entry: more is no picture and no table of labels, but a trap
MOST_PIXELS = 2**26  # of a picture
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed date makes equal content equal bytes


def shard_files(folder: Path, suffix: str, number: int | None = None) -> list[Path]:
    """The first `number` shards in `folder` that are there; without `number`, all of them."""
    if number is None:
        return sorted(folder.glob(f"[0-9]*{suffix}"))
    names = (folder / f"{index:05d}{suffix}" for index in range(number))
    return [path for path in names if path.exists()]


class ShardWriter:
    """Adds entries to a zip; use it through `write_shard`."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, data: bytes) -> None:
        self._archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), data)

    def add_image(self, name: str, image: np.ndarray) -> None:
        """`image`: uint8, [H,W] grey, [H,W,3] RGB or [H,W,4] RGBA; stored as PNG."""
        self.add(name, encode_png(image))

    def add_json(self, name: str, content: Any) -> None:
        self.add(name, json.dumps(content, sort_keys=True).encode())


@contextmanager
def write_shard(path: str | os.PathLike[str], record: dict[str, Any]) -> Iterator[ShardWriter]:
    """Write a shard atomically. `record` (see ag3d.core.provenance) is stored as the entry `record.json`."""
    with atomic(path) as beside, zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as archive:
        writer = ShardWriter(archive)
        yield writer
        writer.add_json(RECORD, record)


class ShardReader:
    """Random access to a shard. Safe to share between forked workers: every process opens its own handle."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._archive: zipfile.ZipFile | None = None
        self._process = -1
        self.names: list[str] = sorted(self._open().namelist())

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None or self._process != os.getpid():
            if self.path.is_dir():
                raise UserError(f"{self.path} is a folder; pack it: cd {self.path} && zip -0 -r ../data.zip .")
            self._archive = open_zip(self.path)
            self._process = os.getpid()
        return self._archive

    def __contains__(self, name: str) -> bool:
        return name in self._open().NameToInfo

    def read(self, name: str) -> bytes:
        return read_entry(self._open(), name, str(self.path), LARGEST)

    def checksum(self, name: str) -> tuple[int, int]:
        """Size and CRC-32 of an entry as the zip's directory tells them, without reading it; `read` checks them."""
        entry = self._open().NameToInfo[name]
        return entry.file_size, entry.CRC

    def image(self, name: str) -> np.ndarray:
        """uint8 [H,W], [H,W,3] RGB or [H,W,4] RGBA."""
        return decode_image(self.read(name), f"{self.path}:{name}")

    def json(self, name: str) -> Any:
        return parse_json(self.read(name), f"{self.path}: entry '{name}'")

    def record(self) -> dict[str, Any]:
        record = self.json(RECORD) if RECORD in self else {}
        return record if isinstance(record, dict) else {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_archive": None, "_process": -1}

    def close(self) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None


def encode_png(image: np.ndarray) -> bytes:
    """uint8 grey, RGB or RGBA to PNG bytes."""
    assert image.dtype == np.uint8, image.dtype
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    ok, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert ok
    return data.tobytes()


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Bytes of an image to uint8 grey, RGB or RGBA; of 16 bits a channel, the upper 8. Raises UserError naming `name`."""
    kind = _checked_kind(data, name)
    try:
        if kind in ("PNG", "JPEG"):
            image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if image is not None and image.ndim == 3:
                image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)
        else:  # OpenCV's other readers believe what a file says of its size
            with Image.open(io.BytesIO(data)) as opened:
                grey = opened.mode in ("1", "L")
                image = np.array(opened.convert("L" if grey else "RGBA" if opened.has_transparency_data else "RGB"))
    except cv2.error as error:
        raise UserError(f"{name} is not a readable image ({error.err})") from error
    except Exception as error:  # damaged files fail in all of Pillow's ways
        raise UserError(f"{name} is not a readable image ({error})") from error
    if image is None:
        raise UserError(f"{name} is not a readable image")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8 or (image.ndim == 3 and image.shape[2] not in (3, 4)):
        raise UserError(f"{name} is not an image of 8 bits a channel in grey, RGB or RGBA")
    return np.asarray(image)


def _checked_kind(data: bytes, name: str) -> str:
    """The format of an image. A few bytes can claim a picture that fills all memory: UserError by what the header says."""
    if data[: len(PNG_SIGNATURE)] == PNG_SIGNATURE and len(data) >= 24:  # as the pictures of data sets are
        kind, width, height = "PNG", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    else:
        try:
            with Image.open(io.BytesIO(data)) as opened:
                kind, (width, height) = str(opened.format), opened.size
        except Image.DecompressionBombError as error:
            raise UserError(f"{name} claims more pixels than are read ({error})") from error
        except Exception as error:  # damaged files fail in all of Pillow's ways
            raise UserError(f"{name} is not a readable image") from error
    if width * height > MOST_PIXELS:
        raise UserError(f"{name} claims {width} × {height} pixels; at most {MOST_PIXELS // 2**20} million are read")
    position = len(PNG_SIGNATURE)
    while kind == "PNG" and position + 8 <= len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if position > len(data):
            raise UserError(f"{name} is not a readable image: a chunk reaches beyond the file's end")
    return kind


def save_png(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write an image file atomically."""
    with atomic(path) as beside, io.FileIO(beside, "wb") as handle:
        handle.write(encode_png(image))


def content_hash(shards: Sequence[ShardReader]) -> str:
    """SHA-256 over names, sizes and checksums of all entries but the records, whatever the order of shards. The zips keep
    the checksums, and whoever reads an entry checks it: no pixel is read here, however many there are."""
    entries = sorted((name, shard.path.name, shard) for shard in shards for name in shard.names if name != RECORD)
    whole = hashlib.sha256()
    for name, _, shard in entries:
        whole.update(f"{name}\0{shard.checksum(name)}\0".encode())
    return whole.hexdigest()
