"""The file of Inception's weights: where it comes from, and a look through it before it is loaded."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from ag3d.core.errors import UserError

FILE = "inception-2015-12-05.pt"
SOURCE = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{FILE}"
# What a TorchScript file could reach the disk with, and operators that are not torch's own.
_FORBIDDEN = re.compile(r"\btorch\.(?:from_file|save)\b|\bops\.(?!prim\b|aten\b)\w+")


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path, or a UserError that says how to get the file."""
    file = Path(path)
    if not str(path):
        raise UserError(
            f"'evaluation.inception' is missing: FID needs {FILE}; download it from {SOURCE} and give its path"
        )
    if not file.is_file():
        raise UserError(f"{file} ('evaluation.inception') does not exist; download {FILE} from {SOURCE} to there")
    return file


def check_code(path: Path) -> None:
    """Look through the file's program before anything of it runs. Raises UserError.

    Loading runs no Python, but TorchScript is a program all the same; the two operators of it that reach files, and
    operators from outside torch, have no place in an image network.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            programs = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
    except (zipfile.BadZipFile, UnicodeDecodeError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{path} is not a whole TorchScript file ({error}); get {FILE} from {SOURCE}") from error
    if not programs:
        raise UserError(f"{path} is not a TorchScript file; get {FILE} from {SOURCE}")
    for program in programs:
        if call := _FORBIDDEN.search(program):
            raise UserError(f"{path} calls {call.group()}, which an image network has no need of; it was not loaded")
