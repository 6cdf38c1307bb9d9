"""What made an output: settings, code version, hashes of the inputs."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ag3d
from ag3d.core.errors import UserError
from ag3d.core.files import read_record, sha256
from ag3d.core.shards import ShardReader


@functools.cache
def code_version() -> str:
    """The package version, with the git commit (and '+' if files differ from it) when run from a checkout."""
    root = Path(ag3d.__file__).resolve().parents[1]
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ag3d.__version__
    return f"{ag3d.__version__} {commit}{'+' if dirty else ''}"


def digest(content: Any) -> str:
    """A short stable hash of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def record(stage: str, settings: Any, inputs: Iterable[str | Path] = ()) -> dict[str, Any]:
    """The record that every output carries. `settings`: plain values. `inputs`: files, recorded by folder, name, SHA-256.

    Raises UserError where one of the inputs was made from another content of one that is given beside it: something
    damaged or replaced that file in between.
    """
    given = [Path(path) for path in inputs]
    hashes = {name_of(path): sha256(path) for path in given}
    for path in given:
        for name, before in carried(path).get("inputs", {}).items():
            if name in hashes and hashes[name] != before:
                raise UserError(
                    f"{path} was made from another {name}: that file is damaged, or was replaced; delete both and run again"
                )
    return {"stage": stage, "code": code_version(), "settings": settings, "inputs": hashes}


def name_of(path: Path) -> str:
    """A file's name in records: files of different stages share theirs, so with its folder's."""
    return f"{path.absolute().parent.name}/{path.name}"


def carried(path: Path) -> dict[str, Any]:
    """The record inside a shard or table; empty where there is none."""
    if path.suffix == ".zip":
        return ShardReader(path).record()
    return read_record(path) if path.suffix == ".parquet" else {}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    names = (
        "torch",
        "numpy",
        "scipy",
        "pandas",
        "opencv-python-headless",
        "snakemake",
        "ai-edge-litert",
        "trimesh",
        "scikit-image",
    )
    packages = {name: importlib.metadata.version(name) for name in names if _installed(name)}
    return {
        "ag3d": code_version(),
        "python": sys.version.split()[0],
        "machine": f"{platform.system()} {platform.machine()}",
        **packages,
    }


def _installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
