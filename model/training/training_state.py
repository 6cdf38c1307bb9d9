"""The state of a training as files: tensors in safetensors, everything else in JSON; whole or absent.

A milestone is a folder with the networks, for use, and the whole state, to go on from:

| file | content |
| --- | --- |
| generator_ema.safetensors | averaged generator: what makes the pictures |
| generator.safetensors, discriminator.safetensors | the networks in training |
| checkpoint.json | network and training settings, kimg, body, what made it |
| state.safetensors, state.json | the whole state; training goes on from it if the folder `train` is lost |
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ag3d.core.errors import UserError
from ag3d.core.files import atomic, read_sealed, sha256, write_sealed
from ag3d.model.checkpoint import DESCRIPTION

log = logging.getLogger(__name__)
TENSORS, VALUES = "state.safetensors", "state.json"
_HEADER = {"key": str, "images": int, "sha256": str, "values": dict}
NETWORKS = ("generator_ema", "generator", "discriminator")


@dataclass
class TrainingState:
    """`key` names the science that made it; `images` is how many the training had seen."""

    key: str
    images: int
    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]

    @property
    def seconds(self) -> float:
        """How long the training took, as far as is known."""
        seconds = self.values.get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else 0.0

    def write(self, folder: Path) -> None:
        """Write both files into `folder`, the tensors first. Raises UserError when the disk is full."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / TENSORS
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        with disk_errors(target), atomic(target) as beside:
            save_file(tensors, beside)
        values = {"key": self.key, "images": self.images, "sha256": sha256(target), "values": self.values}
        write_sealed(folder / VALUES, values)


def read_header(folder: Path) -> dict[str, Any]:
    """The JSON part: key, images, sha256, values. Raises ValueError if it is damaged."""
    try:
        header = read_sealed(folder / VALUES)
    except UserError as error:
        raise ValueError(str(error)) from error
    for name, kind in _HEADER.items():
        if type(header.get(name)) is not kind:
            raise ValueError(f"{folder / VALUES}: '{name}' is missing, or of another type")
    return {name: header[name] for name in _HEADER}


def read_state(folder: Path) -> TrainingState:
    """Read and check a state. Raises ValueError if it is damaged."""
    header = read_header(folder)
    path = folder / TENSORS
    try:
        if sha256(path) != header["sha256"]:
            raise ValueError(f"{path} is damaged: its SHA-256 is not the one in {VALUES}")
        return TrainingState(header["key"], header["images"], load_file(path), header["values"])
    except (SafetensorError, OSError, UserError) as error:
        raise ValueError(f"{path}: {error}") from error


class StateStore:
    """The states of one run in a folder, one sub-folder each; the last `keep` stay.

    All is known to be well until `good` images: the last state until there stays too.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self.good: int | None = None

    def save(self, state: TrainingState) -> Path:
        """Write beside, then rename: an interrupted save leaves the older ones as they were."""
        target = self.folder / f"{state.images:012d}"
        beside = self.folder / f".{uuid.uuid4().hex[:8]}.part"
        try:
            state.write(beside)
            with disk_errors(target):
                if target.exists():
                    shutil.rmtree(target)
                os.replace(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        for old in self.folders()[: -self.keep]:
            if old != self.last_good():
                shutil.rmtree(old)
        return target

    def last_good(self) -> Path | None:
        """The last state that is known to be well."""
        good = [path for path in self.folders() if self.good is not None and int(path.name) <= self.good]
        return good[-1] if good else None

    def folders(self) -> list[Path]:
        """The states' folders, oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]*") if path.is_dir())

    def forget_after(self, images: int) -> None:
        """Remove states beyond `images` and what interrupted saves left."""
        for path in self.folders():
            if int(path.name) > images:
                shutil.rmtree(path)
        for path in self.folder.glob(".*.part"):
            shutil.rmtree(path, ignore_errors=True)


def newest_state(folders: list[Path], key: str, images: int) -> TrainingState | None:
    """The whole state with the right key that is farthest on, but not beyond `images`; damaged ones are warned of."""
    headers = []
    for folder in folders:
        try:
            header = read_header(folder)
        except ValueError as error:
            log.warning("a saved state is damaged and left aside: %s", error)
            continue
        if header["key"] == key and header["images"] <= images:
            headers.append((header["images"], folder))
    for _, folder in sorted(headers, key=lambda pair: pair[0], reverse=True):
        try:
            return read_state(folder)
        except ValueError as error:
            log.warning("a saved state is damaged; falling back to the one before: %s", error)
    return None


@contextlib.contextmanager
def disk_errors(target: Path) -> Iterator[None]:
    """Turn a full disk into a UserError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        text = str(error)
        if getattr(error, "errno", None) in (28, 122) or "No space left" in text or "quota" in text.lower():
            raise UserError(
                f"no space left while writing {target}: free some space on that disk and run the same command again; "
                "the states saved before are whole"
            ) from error
        raise


def write_milestone(folder: Path, state: TrainingState, description: dict[str, Any]) -> None:
    """Write every file of a milestone atomically, checkpoint.json last."""
    state.write(folder)
    hashes = {}
    for name in NETWORKS:
        path = folder / f"{name}.safetensors"
        with disk_errors(path), atomic(path) as beside:
            save_file({key: value.contiguous() for key, value in tensors_of(state.tensors, name).items()}, beside)
        hashes[path.name] = sha256(path)
    write_sealed(folder / DESCRIPTION, description | {"files": hashes})


def is_milestone(folder: Path, key: str) -> bool:
    """Whether the folder is a whole milestone of the science `key`."""
    with contextlib.suppress(UserError):  # a damaged one is written anew
        return bool(read_sealed(folder / DESCRIPTION).get("key") == key)
    return False


def milestones_with_state(folder: Path) -> list[Path]:
    """The milestones in `folder` (results/<run>/training) that training can go on from."""
    return sorted(path.parent for path in folder.glob(f"*/{VALUES}"))


def tensors_of(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """The tensors under `name/` of a state, without that prefix."""
    return {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
