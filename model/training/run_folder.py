"""The folder of a training, results/<run>/training: its state, metrics and previews belong to one science, named by keys.

One trainer works in it at a time: its lock dies with its owner.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ag3d.config.renamed import renew_section
from ag3d.core.errors import UserError
from ag3d.core.files import read_object, read_sealed, write_sealed
from ag3d.model.training.monitoring import MetricsFile
from ag3d.model.training.stages import TrainingStage
from ag3d.model.training.training_state import StateStore, read_header

log = logging.getLogger(__name__)
_KEY = re.compile(r"[\w-]{1,64}")  # they name folders
_OWN = ("state", "previews", "tensorboard", "metrics.jsonl", "run.json")


class RunFolder:
    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.store = StateStore(folder / "state", keep)
        self.metrics = MetricsFile(folder / "metrics.jsonl")
        self.previews = folder / "previews"

    def adopt(self, stages: Sequence[TrainingStage], data: str) -> None:
        """Make the folder that of a training with these stages. `data`: hash of the data's content.

        What another training left here is moved to `other-<key>`, and comes back when its settings do. A training that
        began alike is the same as long as the settings of the stages that both have reached are.
        """
        keys = [stage.key for stage in stages]
        before = self._description(self.folder, keys)
        if before is not None and not compatible(before["keys"], keys):
            first = common_beginning(before["keys"], keys)
            known = before["sciences"][first:]
            changed = sorted(differences(_renewed(known[0]), stages[first].science)) if known else ["settings"]
            aside = self.folder / f"other-{before['keys'][-1]}"
            log.warning(
                "%s holds another training (%s changed); it is kept in %s and this one starts from %s",
                self.folder, ", ".join(changed[:5]), aside.name, "the stage before" if first else "its own beginning",
            )  # fmt: skip
            self._move(self.folder, aside)
            before = self._bring_back(keys)
            if before is None and first:
                shutil.copy(aside / "metrics.jsonl", self.metrics.path)
        elif before is not None and before["content"] not in (None, data):
            log.warning("the data set has changed since this training began; it goes on with the data as they are now")
        if before is None or len(before["keys"]) <= len(keys):
            sciences = [stage.science for stage in stages]
            write_sealed(self.folder / "run.json", {"keys": keys, "sciences": sciences, "content": data})

    def rewind(self, images: int) -> None:
        """Forget everything beyond `images`: training goes on from there."""
        self.store.forget_after(images)
        self.metrics.rewind(images)
        for path in self.previews.glob("[0-9]*.png"):
            if int(path.stem) > images:
                path.unlink()

    def _description(self, folder: Path, keys: list[str]) -> dict[str, Any] | None:
        """run.json; where it is damaged, what the states tell: whether they are of the training with these keys."""
        path = folder / "run.json"
        if not path.exists():
            return None
        try:
            description = read_sealed(path)
            if "keys" not in description or _is_description(description):
                return description if "keys" in description else None
            log.warning("%s is damaged: it is made anew from the saved states", path)
        except UserError as error:
            log.warning("%s: it is made anew from the saved states", error)
        for state in reversed(StateStore(folder / "state").folders()):
            with contextlib.suppress(ValueError):
                key = read_header(state)["key"]
                own = keys[: keys.index(key) + 1] if key in keys else [key]
                if _KEY.fullmatch(key):
                    return {"keys": own, "sciences": [], "content": None}
        return None

    def _bring_back(self, keys: list[str]) -> dict[str, Any] | None:
        """Put back the training that was moved aside and is farthest on of those with these keys."""
        aside = [(self._description(folder, keys), folder) for folder in sorted(self.folder.glob("other-*"))]
        fitting = [(before, folder) for before, folder in aside if before and compatible(before["keys"], keys)]
        if not fitting:
            return None
        before, folder = max(fitting, key=lambda pair: common_beginning(pair[0]["keys"], keys))
        self._move(folder, self.folder)
        return before

    def _move(self, source: Path, target: Path) -> None:
        if not source.exists():
            return
        target.mkdir(parents=True, exist_ok=True)
        for name in _OWN:
            if (source / name).exists():
                (source / name).rename(target / name)


def _is_description(content: dict[str, Any]) -> bool:
    keys, sciences = content.get("keys"), content.get("sciences")
    if not isinstance(keys, list) or not isinstance(sciences, list) or len(keys) != len(sciences) or not keys:
        return False
    named = all(isinstance(key, str) and _KEY.fullmatch(key) for key in keys)
    sections = ("training", "network")
    told = all(isinstance(one, dict) and all(isinstance(one.get(name), dict) for name in sections) for one in sciences)
    return named and told and isinstance(content.get("content"), str)


def _renewed(science: dict[str, Any]) -> dict[str, Any]:
    """A science that was written when settings had other names, under today's."""
    sections = ("training", "network")
    return science | {name: renew_section(science[name], name, warn=False) for name in sections}


def common_beginning(first: Sequence[str], second: Sequence[str]) -> int:
    """How many keys both begin with."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def compatible(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether one training is the other's beginning."""
    return common_beginning(first, second) == min(len(first), len(second))


def differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of the values that differ."""
    names = []
    for name in before.keys() | after.keys():
        a, b = before.get(name), after.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            names += differences(a, b, f"{prefix}{name}.")
        elif a != b:
            names.append(f"{prefix}{name}")
    return names


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`. Raises UserError that names the owner if another trainer holds it.

    The kernel drops the lock when its owner ends, however it ends, so a lock left behind is simply taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock.json"
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UserError(f"{path} is no plain file; remove it")
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another trainer is at work in {folder} ({_owner(path)}): wait for it, or stop it and run again"
            ) from error
        if os.fstat(handle).st_size:
            log.info("taking over from a trainer that ended without a goodbye (%s)", _owner(path))
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        if job := os.environ.get("SLURM_JOB_ID"):
            owner["slurm_job"] = job
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _owner(path: Path) -> str:
    try:
        return ", ".join(f"{name} {value}" for name, value in read_object(path).items())
    except UserError:
        return "owner unknown"
