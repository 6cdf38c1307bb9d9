"""The parts of a training, one for each stage, and the keys of their sciences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ag3d.config import Network, Training, resolve, to_mapping
from ag3d.config.training import milestone_name
from ag3d.core import provenance
from ag3d.model.training import milestone, schedule


@dataclass(frozen=True)
class Part:
    """A stretch of the training with one network: images `start` … `end`. `key` names what its weights depend on."""

    number: int
    start: int
    end: int
    milestone: str  # folder name of the milestone at its end, if another part follows
    training: Training
    network: Network
    science: dict[str, Any]
    key: str


def science(
    training: Training, network: Network, data: str, body: str, before: tuple[str, int] | None = None
) -> dict[str, Any]:
    """Everything that the weights of a part depend on. `before`: key of the part before and where it ended.

    How long to train, where milestones lie and what later stages change is left out: these extend a training.
    """
    chosen = to_mapping(training)
    for name in ("kimg", "milestones", "stages"):
        del chosen[name]
    if training.resume_from:
        chosen["resume_from"] = milestone.start_hash(Path(training.resume_from))
    found = {"training": chosen, "network": to_mapping(network), "data": data, "body": body}
    return found if before is None else {**found, "before": {"key": before[0], "images": before[1]}}


def parts(training: Training, network: Network, images: int, data: str, body: str) -> list[Part]:
    """The parts that the first `images` images belong to. `data`, `body`: what names data set and body."""
    stages = resolve(training, network)
    starts = [schedule.steps_until(kimg, training.batch_size) * training.batch_size for kimg, _, _ in stages]
    found: list[Part] = []
    for number, (start, (_, settings, sizes)) in enumerate(zip(starts, stages, strict=True)):
        end = min([images, *starts[number + 1 : number + 2]])
        if start >= end and number:
            break
        before = (found[-1].key, start) if found else None
        content = science(settings, sizes, data, body, before)
        name = milestone_name(stages[number + 1][0]) if end < images else ""
        found.append(Part(number, start, end, name, settings, sizes, content, provenance.digest(content)))
    return found
