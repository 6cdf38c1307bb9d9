"""Snakemake as a person starts it, with a working directory of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support import ROOT


def snakemake(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the project's Snakefile in `directory`."""
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory)]
    return subprocess.run([*line, *arguments], capture_output=True, text=True, cwd=ROOT)


def dry_run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return snakemake(directory, "-q", "rules", "-n", *arguments)


def job_counts(planned: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Jobs of each rule that a dry run counted."""
    text = planned.stdout + planned.stderr
    assert planned.returncode == 0, text
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", text, re.MULTILINE)}
    counts.pop("total", None)
    return counts
