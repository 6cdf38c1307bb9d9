"""The folder of a training, results/<run>/train: its state, metrics and previews belong to one science, named by keys."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ag3d.core.files import read_json, write_json
from ag3d.model.training.metrics_log import MetricsFile
from ag3d.model.training.snapshot import Store
from ag3d.model.training.stages import Part

log = logging.getLogger(__name__)
_OWN = ("state", "previews", "tensorboard", "metrics.jsonl", "run.json")


class RunFolder:
    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.store = Store(folder / "state", keep)
        self.metrics = MetricsFile(folder / "metrics.jsonl")
        self.previews = folder / "previews"

    def adopt(self, parts: Sequence[Part], data: str) -> None:
        """Make the folder that of a training with these parts. `data`: hash of the data's content.

        What another training left here is moved to `other-<key>`, and comes back when its settings do. A training that
        began alike is the same as long as the settings of the stages that both have reached are.
        """
        before = self._description(self.folder)
        chain = [part.key for part in parts]
        if before is not None and not compatible(before["keys"], chain):
            first = shared(before["keys"], chain)
            changed = sorted(differences(before["sciences"][first], parts[first].science))
            aside = self.folder / f"other-{before['keys'][-1]}"
            log.warning(
                "%s holds another training (%s changed); it is kept in %s and this one starts from %s",
                self.folder, ", ".join(changed[:5]), aside.name, "the stage before" if first else "its own beginning",
            )  # fmt: skip
            self._move(self.folder, aside)
            before = self._bring_back(chain)
            if before is None and first:
                shutil.copy(aside / "metrics.jsonl", self.metrics.path)
        elif before is not None and before["content"] != data:
            log.warning("the data set has changed since this training began; it goes on with the data as they are now")
        if before is None or len(before["keys"]) <= len(chain):
            sciences = [part.science for part in parts]
            write_json(self.folder / "run.json", {"keys": chain, "sciences": sciences, "content": data})

    def rewind(self, images: int) -> None:
        """Forget everything beyond `images`: training goes on from there."""
        self.store.forget_after(images)
        self.metrics.rewind(images)
        for path in self.previews.glob("[0-9]*.png"):
            if int(path.stem) > images:
                path.unlink()

    def _description(self, folder: Path) -> dict[str, Any] | None:
        path = folder / "run.json"
        found = read_json(path) if path.exists() else None
        return found if found is None or "keys" in found else None

    def _bring_back(self, chain: list[str]) -> dict[str, Any] | None:
        """Put back the training that was moved aside and is farthest on of those with these keys."""
        found = [(self._description(folder), folder) for folder in sorted(self.folder.glob("other-*"))]
        fitting = [(before, folder) for before, folder in found if before and compatible(before["keys"], chain)]
        if not fitting:
            return None
        before, folder = max(fitting, key=lambda pair: shared(pair[0]["keys"], chain))
        self._move(folder, self.folder)
        return before

    def _move(self, source: Path, target: Path) -> None:
        if not source.exists():
            return
        target.mkdir(parents=True, exist_ok=True)
        for name in _OWN:
            if (source / name).exists():
                (source / name).rename(target / name)


def shared(first: Sequence[str], second: Sequence[str]) -> int:
    """How many keys both begin with."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def compatible(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether one training is the other's beginning."""
    return shared(first, second) == min(len(first), len(second))


def differences(before: dict[str, Any], after: dict[str, Any], place: str = "") -> list[str]:
    """Dotted names of the values that differ."""
    found = []
    for name in before.keys() | after.keys():
        a, b = before.get(name), after.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{place}{name}.")
        elif a != b:
            found.append(f"{place}{name}")
    return found
