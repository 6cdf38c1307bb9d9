"""Planning for ten million photographs: from a kept listing, in seconds."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml
from support import ROOT

from ag3d.core.files import write_json

SHARDS = 1000
# Snakemake, telling at its end the most memory that it had; a process's own usage begins with that of the one it came from.
TELLING = """
import atexit, runpy
status = "/proc/self/status"
atexit.register(lambda: print("peak memory", open(status).read().split("VmHWM:")[1].split()[0], flush=True))
runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_ten_million_photographs_are_planned_in_thirty_seconds(tmp_path):
    """CPU seconds, because tests share their cores. The folder itself is never looked at."""
    settings = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    photos = tmp_path / "photos"
    photos.mkdir()
    settings["photos"] = {"source": "folder", "path": str(photos), "shards": SHARDS}
    settings["machine"]["keep_listing"] = True
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    record = {"folder": str(photos), "shards": SHARDS, "number": 10_000_000}
    record["fingerprints"] = {shard: f"{shard:016x}" for shard in range(SHARDS)}
    write_json(tmp_path / "results" / settings["dataset_name"] / "scan/scan.json", record)
    line = [sys.executable, "-c", TELLING, "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    process = subprocess.Popen(
        [*line, "-n", "-q", "rules"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, text
    for stage in ("photos", "people", "matting", "fitting", "alignment", "normals", "dataset"):
        assert f"{stage} " in text.replace("\n", " ")
    assert usage.ru_utime + usage.ru_stime < 30
    assert int(text.split("peak memory ")[1].split()[0]) < 2**20  # KB: a gigabyte


def test_too_many_shards_for_a_command(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"photos": {"shards": 50_000}}))
    line = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
        str(tmp_path),
        "-n",
    ]
    told = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode != 0
    assert "photos.shards is 50000" in told.stdout + told.stderr
