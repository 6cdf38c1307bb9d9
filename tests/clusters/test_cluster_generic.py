"""The profile for schedulers without an executor of their own, against stand-ins of PBS's commands that run the jobs here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support import small_run

pytestmark = pytest.mark.slow

pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason="make clusters installs it")

# Notes its options, runs the script, keeps its status, prints a job's name. As many jobs as FAILING says end with status 1.
QSUB = """#!/usr/bin/env bash
echo "$*" >> $PBS/options
number=$(wc -l < $PBS/options)
if [ $number -le ${FAILING:-0} ]; then echo 1 > $PBS/$number.status
else (bash "${@: -1}" > $PBS/$number.out 2>&1; echo $? > $PBS/$number.status) & fi
echo $number.pbs
"""
QSTAT = """#!/usr/bin/env bash
number=${@: -1}
status=$PBS/${number%.pbs}.status
if [ -s $status ]; then printf '    job_state = F\\n    Exit_status = %s\\n' $(cat $status)
else printf '    job_state = R\\n'; fi
"""


@pytest.fixture
def pbs(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "pbs"
    folder.mkdir()
    for name, text in {"qsub": QSUB, "qstat": QSTAT, "qdel": "#!/bin/sh\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return small_run.environment(PATH=f"{folder}:{os.environ['PATH']}", PBS=str(folder))


def test_jobs_go_through_the_commands(tmp_path, open_body_path, pbs):
    folder = tmp_path / "work"
    small_run.prepare(folder, open_body_path, small_run.settings(gpus=0))
    (folder / "profiles").symlink_to(small_run.ROOT / "profiles")
    target = f"results/{small_run.DATA}/people/00001.parquet"
    profile = ["--workflow-profile", str(small_run.ROOT / "profiles/cluster-generic"), "--latency-wait", "5"]
    line = small_run.command(folder, target, *profile)
    done = subprocess.run(line, capture_output=True, text=True, cwd=small_run.ROOT, env=pbs, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / target).exists()
    options = (tmp_path / "pbs/options").read_text().splitlines()
    assert len(options) == 2  # the photographs; then a shard's stages as one job
    assert all("-q workq" in line and re.search(r"ncpus=\d+:mem=\d+mb:ngpus=0", line) for line in options), options


def test_a_job_that_fails_gets_more(tmp_path, open_body_path, pbs):
    """Memory and time, also where a shard's stages are one job."""
    folder = tmp_path / "work"
    small_run.prepare(folder, open_body_path, small_run.settings(gpus=0))
    (folder / "profiles").symlink_to(small_run.ROOT / "profiles")
    profile = ["--workflow-profile", str(small_run.ROOT / "profiles/cluster-generic"), "--latency-wait", "5"]

    def asked(stage: str, failing: int) -> list[tuple[int, ...]]:
        """Memory and minutes that all jobs so far were submitted with."""
        line = small_run.command(folder, f"results/{small_run.DATA}/{stage}/00000.parquet", *profile)
        environment = {**pbs, "FAILING": str(failing)}
        done = subprocess.run(line, capture_output=True, text=True, cwd=small_run.ROOT, env=environment, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        options = (tmp_path / "pbs/options").read_text()
        return [(int(mb), int(minutes)) for mb, minutes in re.findall(r"mem=(\d+)mb.*walltime=(\d+):00", options)]

    # The photographs are rendered at the third try; a shard's job needs one, then, as another, two.
    assert asked("photos", 2) == [(2000, 240), (4000, 480), (6000, 720), (2000, 240)]
    assert asked("people", 5)[4:] == [(2000, 240), (4000, 480)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("job_state = R", "running"),
        ("job_state = F\n Exit_status = 0", "success"),
        ("job_state = F\n Exit_status = 271", "failed"),
    ],
)
def test_status(tmp_path, answer, expected):
    (tmp_path / "qstat").write_text(f"#!/bin/sh\nprintf '{answer}\\n'\n".replace("\n ", "\\n "))
    (tmp_path / "qstat").chmod(0o755)
    told = subprocess.run(
        [small_run.ROOT / "profiles/cluster-generic/status.sh", "1.pbs"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert told.stdout.strip() == expected


def test_a_server_that_does_not_answer(tmp_path):
    (tmp_path / "qstat").write_text("#!/bin/sh\nexit 255\n")
    (tmp_path / "qstat").chmod(0o755)
    script = small_run.ROOT / "profiles/cluster-generic/status.sh"
    told = subprocess.run(
        [script, "1"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True
    )
    assert (told.returncode, told.stdout.strip()) == (0, "running")
