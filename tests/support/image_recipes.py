"""The steps of Dockerfile and Apptainer recipe."""

from __future__ import annotations

import re

from support import ROOT


def docker() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def apptainer() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {"": []}
    for line in (ROOT / "envs/ag3d.def").read_text().splitlines():
        if line.startswith("%"):
            sections[line[1:].strip()] = []
        elif line.strip() and not line.startswith("#"):
            list(sections.values())[-1].append(line.strip())
    return sections
