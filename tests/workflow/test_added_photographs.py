"""Photographs that are added to a finished data set: only their shards run again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT

from ag3d.preprocessing.models import MODELS
from ag3d.preprocessing.photos.photo_index import photo_id, shard_of

STAGES = ("photos", "people", "matting", "fitting", "alignment", "normals")  # one job a shard
WHOLE = {("dedup", ""), ("pose_distribution", ""), ("rejected", ""), ("index", "")}  # what is made of all shards
SHARDS = 5


# Stands in for Python where Snakemake starts a stage: writes down the stage, and leaves its outputs without content.
STAND_IN = """#!/bin/sh
echo "$*" >> started.txt
for argument in "$@"; do
    case "$argument" in
        results/*.npy) : > "$argument"; : > "${argument%.npy}.json" ;;
        results/*) for file in "$argument" "${argument%.zip}.parquet"; do
            test -e "$file" || { mkdir -p "$(dirname "$file")"; : > "$file"; }
        done ;;
    esac
done
"""


# Snakemake, whose stages are started with the Python beside the one that it believes to run in.
BELIEVING = """
import runpy, sys
sys.executable = sys.argv.pop(1)
runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
"""


def snakemake(folder: Path, *options: str) -> str:
    line = [sys.executable, "-c", BELIEVING, str(folder / "bin/python"), "--snakefile", str(ROOT / "Snakefile")]
    line += ["--directory", str(folder), *options, "--", "data"]
    answer = subprocess.run(line, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def add_photographs(folder: Path, first: int, number: int) -> list[str]:
    """Files of different sizes: nothing opens them here."""
    names = [f"photo-{k}.jpg" for k in range(first, first + number)]
    for k, name in enumerate(names):
        (folder / name).write_bytes(b"\xff\xd8" + bytes(first + k))
    return names


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
    for name in (
        *(f"body/{part}" for part in ("body.npz", "garments.npz", "body.json")),
        *(f"models/blazepose/{Path(m).name}" for m in MODELS),
    ):
        (tmp_path / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / name).touch()
    settings = {"dataset_name": "d", "photos": {"source": "folder", "path": str(photos), "shards": SHARDS}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    snakemake(tmp_path, "--cores", "2", "--quiet", "all")
    assert {("photos", f"{shard:05d}") for shard in range(SHARDS)} <= started(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_added_and_removed_photographs_run_their_shards_again_and_no_other(finished: Path) -> None:
    snakemake(finished, "--cores", "2", "--quiet", "all")
    assert started(finished) == set()
    names = add_photographs(finished / "photos", 100, 2)
    (finished / "photos/photo-7.jpg").unlink()
    shards = {f"{shard_of(photo_id(name), SHARDS):05d}" for name in (*names, "photo-7.jpg")}
    assert 0 < len(shards) < SHARDS
    snakemake(finished, "--cores", "2", "--quiet", "all")
    packed = {("dataset", f"{shard:05d}") for shard in range(SHARDS)}  # who is shown twice is decided among all
    assert started(finished) == {(stage, shard) for stage in STAGES for shard in shards} | packed | WHOLE
