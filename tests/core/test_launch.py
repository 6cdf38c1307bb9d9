"""How processes are started: alone, by torchrun, and by srun on several nodes. The real srun: tests/clusters."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import pytest

from ag3d.core.errors import UserError
from ag3d.core.launch import command, rendezvous


def slurm(*line: str, restarts: int = 0) -> str:
    """What Slurm's commands print, for job 41 on n3 and n4."""
    described = f"JobId=41 JobName=x\n   Requeue=1 Restarts={restarts} BatchFlag=1\n   ReqNodeList=(null) ExcNodeList=(null)\n   NodeList=n[3-4]\n"
    answers = {
        ("scontrol", "show", "job", "41"): described,
        ("scontrol", "show", "hostnames", "n[3-4]"): "n3\nn4\n",
        ("scontrol", "show", "node", "n3"): "NodeName=n3 Arch=x86_64\n   NodeAddr=10.0.0.3 NodeHostName=n3\n",
    }
    return answers[line]


def test_one_process_is_started_as_it_is():
    for gpus in (0, 1):
        assert command(["m", "--a"], 1, gpus, 8, {}) == [sys.executable, "-m", "m", "--a"]


def test_several_gpus_of_a_computer():
    line = command(["m", "--a"], 1, 4, 8, {"SLURM_JOB_ID": "41"})
    assert line[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4", "-m", "m", "--a"]


def test_several_computers():
    line = command(["m", "--a"], 2, 8, 16, {"SLURM_JOB_ID": "41"}, slurm)
    assert line[0] == "srun"
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=16", "--gres=gpu:8"} <= set(line)
    assert {"--nnodes=2", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-id=41.0"} <= set(line)
    assert any(word.startswith("--rdzv-endpoint=10.0.0.3:2") for word in line)
    assert line[-3:] == ["-m", "m", "--a"]
    assert not any("gres" in word for word in command(["m"], 2, 0, 1, {"SLURM_JOB_ID": "41"}, slurm))


def test_a_requeued_job_meets_at_another_place():
    first, again = rendezvous("41", slurm), rendezvous("41", partial(slurm, restarts=1))
    assert not set(first[1:]) & set(again[1:])


def test_several_computers_without_slurm():
    with pytest.raises(UserError, match="machine.nodes is 2.*profiles/slurm"):
        command(["m"], 2, 1, 1, {})


def test_processes_really_start(tmp_path):
    """torchrun starts two; each tells its place."""
    (tmp_path / "place.py").write_text(
        "import json, os, pathlib\n"
        "rank = os.environ['RANK']\n"
        "pathlib.Path(f'rank{rank}.json').write_text(json.dumps([rank, os.environ['WORLD_SIZE']]))\n"
    )
    line = [sys.executable, "-m", "ag3d.core.launch", "--gpus", "2", "place"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, env=None, timeout=120)
    assert done.returncode == 0, done.stderr
    found = sorted(json.loads(path.read_text()) for path in tmp_path.glob("rank*.json"))
    assert found == [["0", "2"], ["1", "2"]]


def test_status_of_what_was_started_is_kept(tmp_path):
    (tmp_path / "ends.py").write_text("raise SystemExit(143)\n")
    line = [sys.executable, "-m", "ag3d.core.launch", "ends"]
    assert subprocess.run(line, cwd=tmp_path, timeout=60).returncode == 143
    assert subprocess.run(line[:-1], cwd=tmp_path, capture_output=True, timeout=60).returncode == 2
