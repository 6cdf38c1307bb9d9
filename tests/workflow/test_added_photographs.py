"""Photographs that are added to a finished data set: only their shards run again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ag3d.preprocessing.listing import photo_id, shard_of

ROOT = Path(__file__).parents[2]
STAGES = ("photos", "people", "matting", "fitting", "alignment", "normals", "dataset")  # one job a shard
WHOLE = {"alike", "poses", "rejected", "index"}  # what is made of all shards
SHARDS = 12


# Stands in for Python where Snakemake starts a stage: writes down the stage, and leaves its outputs without content.
STAND_IN = """#!/bin/sh
echo "$*" >> started.txt
for argument in "$@"; do
    case "$argument" in
        results/*) test -e "$argument" || { mkdir -p "$(dirname "$argument")"; : > "$argument"; } ;;
    esac
done
"""


def snakemake(folder: Path, *options: str) -> str:
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(
        [*line, *options, "--", "data"], capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PATH": path}
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def add_photographs(folder: Path, first: int, number: int) -> list[str]:
    """Files of different sizes: nothing opens them here."""
    names = [f"photo-{k}.jpg" for k in range(first, first + number)]
    for k, name in enumerate(names):
        (folder / name).write_bytes(b"\xff\xd8" + bytes(first + k))
    return names


def planned(folder: Path) -> set[tuple[str, str]]:
    """(rule, shard) of the jobs that would run; the shard is empty for those that have none."""
    text = snakemake(folder, "-n")
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", text, re.M)
    return {(rule, "".join(re.findall(r"wildcards: .*shard=(\d+)", about))) for rule, about in jobs} - {("data", "")}


def started(folder: Path) -> set[tuple[str, str]]:
    """(module, shard) of the stages that ran since this was asked last."""
    record = folder / "started.txt"
    lines = record.read_text().splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    found = set()
    for line in lines:
        module = re.search(r"-m ag3d\.(\S+)", line)
        shard = re.search(r"--output \S*/(\d{5})\.\w+", line)
        assert module, line
        found.add((module[1].split(".")[-1], shard[1] if shard else ""))
    return found


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run folder in which the data set of 40 photographs is finished, made by stages that do nothing."""
    photos, programs = tmp_path / "photos", tmp_path / "bin"
    photos.mkdir()
    programs.mkdir()
    (programs / "python").write_text(STAND_IN)
    (programs / "python").chmod(0o755)
    add_photographs(photos, 0, 40)
    settings = {"dataset_name": "d", "photos": {"source": "folder", "path": str(photos), "shards": SHARDS}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    snakemake(tmp_path, "--cores", "2", "--quiet", "all")
    assert {("photos", f"{shard:05d}") for shard in range(SHARDS)} <= started(tmp_path)
    return tmp_path


def test_added_photographs_run_their_shards_again_and_no_other(finished: Path) -> None:
    assert planned(finished) == set()
    names = add_photographs(finished / "photos", 100, 2)
    shards = {f"{shard_of(photo_id(name), SHARDS):05d}" for name in names}
    assert 0 < len(shards) < SHARDS
    expected = {(stage, shard) for stage in STAGES for shard in shards} | {(rule, "") for rule in WHOLE}
    assert planned(finished) == expected
    snakemake(finished, "--cores", "2", "--quiet", "all")
    assert started(finished) == expected
    assert planned(finished) == set()


def test_a_removed_photograph_runs_its_shard_again(finished: Path) -> None:
    (finished / "photos/photo-7.jpg").unlink()
    again = {shard for rule, shard in planned(finished) if rule in STAGES}
    assert again == {f"{shard_of(photo_id('photo-7.jpg'), SHARDS):05d}"}
