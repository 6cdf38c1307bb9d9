"""Files that are either whole or absent."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from ag3d.core.bounded import MOST_TEXT, open_regular, parse_json, read_bytes
from ag3d.core.errors import UserError

T = TypeVar("T")
SEAL = "checksum"


def cache_folder() -> Path:
    """Where fetched files are kept: AG3D_CACHE, or ~/.cache/ag3d; for users without a home that can be written to, a folder
    of their own among the temporary files. Raises UserError where somebody else has made that."""
    if named := os.environ.get("AG3D_CACHE"):
        return Path(named)
    with contextlib.suppress(RuntimeError, OSError):  # of which the first: nothing tells where the home is
        folder = Path.home() / ".cache" / "ag3d"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.gettempdir()) / f"ag3d-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder} belongs to somebody else; name another folder in the environment: AG3D_CACHE")
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()


def _beside(target: Path, name: str, suffix: str = "") -> Path:
    """A new name beside `target`. What killed processes of this machine left under such names is removed."""
    machine = re.sub(r"[^A-Za-z0-9]", "-", platform.node()) or "host"
    for left in target.parent.glob(f".{glob.escape(name)}.*.part{glob.escape(suffix)}"):
        owner = left.name.removeprefix(f".{name}.").split(".")[0].rpartition("-")
        if owner[0] == machine and owner[2].isdigit() and not psutil.pid_exists(int(owner[2])):
            with contextlib.suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return target.with_name(f".{name}.{machine}-{os.getpid()}.{uuid.uuid4().hex[:8]}.part{suffix}")


@contextlib.contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside `path` to write to; rename it to `path` on success, remove it on failure.

    The temporary name keeps the suffix, so that writers that choose a format by it work. A full disk is a UserError.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(target, target.stem, target.suffix)
    try:
        yield beside
        with open(beside, "rb") as handle:
            os.fsync(handle.fileno())
            os.fchmod(handle.fileno(), 0o666 & ~_UMASK)
        os.replace(beside, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left while writing {target}: free some space on that disk and run the same command again; nothing was lost"
            ) from error
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], replace: bool = False) -> Iterator[Path]:
    """Yield a new folder beside `path` to write to; rename it to `path` on success, remove it on failure.

    `path` must not exist, or with `replace` goes when the new folder is whole. A full disk is a UserError.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = _beside(target, target.name)
    try:
        beside.mkdir()
        yield beside
        for file in filter(Path.is_file, beside.rglob("*")):
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        if replace:
            shutil.rmtree(target, ignore_errors=True)
        os.rename(beside, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"no space left while writing {target}: free some space and run again") from error
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    with atomic(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write strict JSON (no NaN), sorted, indented."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    return parse_json(read_bytes(path, MOST_TEXT), str(path))


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A JSON file that holds an object. Raises UserError."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; it is damaged, or another kind of file")
    return content


def write_sealed(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """As `write_json`, of an object, with a checksum that `read_sealed` compares."""
    write_json(path, sealed(content))


def read_sealed(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `write_sealed` wrote; older files have no checksum, and are believed. Raises UserError."""
    content = read_object(path)
    if not unsealed(content):
        raise UserError(
            f"{path} was damaged or changed since it was written; who changed it knowingly removes '{SEAL}' from it"
        )
    return content


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """With a checksum of the rest."""
    return content | {SEAL: _checksum(content)}


def unsealed(content: dict[str, Any]) -> bool:
    """Takes the checksum out. Whether it is that of the rest, or there is none."""
    checksum = content.pop(SEAL, None)
    return checksum is None or checksum == _checksum(content)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_table(
    path: str | os.PathLike[str], table: pd.DataFrame, record: dict[str, Any], schema: pa.Schema | None = None
) -> None:
    """Write a Parquet table with `record` (see ag3d.core.provenance) under the metadata key `ag3d`. `schema`: its columns'
    types, where they are not to follow from the values."""
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    arrow = arrow.replace_schema_metadata(
        {**(arrow.schema.metadata or {}), b"ag3d": json.dumps(record, sort_keys=True).encode()}
    )
    with atomic(path) as beside:
        pq.write_table(arrow, beside, write_page_checksum=True)


def read_table(path: str | os.PathLike[str], schema: pa.Schema | None = None) -> pd.DataFrame:
    """Read a Parquet table. The columns of `schema` must be there, of these kinds; others may be, too."""
    table = _parquet(path, lambda: pq.read_table(path, page_checksum_verification=True))
    names = _parquet(path, lambda: table.column_names)
    for field in schema or ():
        if field.name not in names:
            raise UserError(f"{path} has no column '{field.name}'; delete it and run again")
        stored = table.schema.field(field.name).type  # a column of nothing but missing values has no type of its own
        if table.num_rows and _kind(stored) not in (_kind(field.type), "null"):
            raise UserError(f"{path}: column '{field.name}' holds {stored}, not {field.type}; delete it and run again")
    return _parquet(path, table.to_pandas)


def _kind(stored: pa.DataType) -> str:
    """What is read alike: numbers of any length, lists, text."""
    if pa.types.is_integer(stored) or pa.types.is_floating(stored):
        return "number"
    return "list" if pa.types.is_list(stored) else str(stored).removeprefix("large_")


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The record that `write_table` stored."""
    metadata = _parquet(path, lambda: pq.read_schema(path)).metadata or {}
    try:
        record = json.loads(metadata.get(b"ag3d", b"{}"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} carries no readable record: {error}; delete it and run again") from error
    return record if isinstance(record, dict) else {}


# The footer has no checksum, and carries types as text that pandas looks up: a flipped byte there fails in many ways.
_UNREADABLE = (
    pa.ArrowException, OSError, MemoryError, ValueError, TypeError, LookupError, AttributeError, SyntaxError, RecursionError,
)  # fmt: skip


def _parquet(path: str | os.PathLike[str], read: Callable[[], T]) -> T:
    try:
        return read()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except _UNREADABLE as error:
        raise UserError(f"{path} is not a readable Parquet file: {error}; delete it and run again") from error


def sha256(path: str | os.PathLike[str]) -> str:
    """Of a regular file's bytes. Raises UserError where there is none."""
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def existing(path: str, key: str) -> str:
    """`path`, which the configuration's `key` names. Raises UserError where nothing is there."""
    if not path or not os.path.exists(path):
        raise UserError(f"configuration: '{key}' is '{path}', which does not exist")
    return path
