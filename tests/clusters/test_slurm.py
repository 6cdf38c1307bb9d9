"""The workflow through Snakemake's Slurm executor on a real Slurm, with what happens on clusters.

The faults one after the other in one run; AG3D_LONG_TESTS=1 also tries each alone, a time limit, a requeue and a
training over two nodes.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from support import slurm_by_hand, small_run
from support.slurm_by_hand import Slurm, wait_for

pytestmark = pytest.mark.slow

pytest.importorskip("snakemake_executor_plugin_slurm", reason="make clusters installs it")
if why := slurm_by_hand.missing():
    pytest.skip(why, allow_module_level=True)

long = pytest.mark.skipif(not small_run.LONG, reason="takes minutes; AG3D_LONG_TESTS=1 asks for it")
PATIENCE = 600.0  # seconds; the machine may be busy
TIMES = [
    "--slurm-init-seconds-before-status-checks",
    "3",
    "--latency-wait",
    "10",
    "--seconds-between-status-checks",
    "3",
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm_by_hand.slurm(tmp_path_factory.mktemp("slurm"), nodes=3, cpus=16) as started:
        yield started


class Run:
    """A run of the workflow through Slurm, in a folder of its own."""

    def __init__(self, folder: Path, cluster: Slurm) -> None:
        self.folder, self.cluster = folder, cluster
        self.process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        profile = ["--workflow-profile", str(small_run.ROOT / "profiles/slurm"), *TIMES]
        line = small_run.command(self.folder, "data", "train", *profile, *arguments)
        environment = {**self.cluster.environment, "OMP_NUM_THREADS": "1"}
        with open(self.folder / "screen.log", "a") as screen:
            self.process = subprocess.Popen(
                line, stdout=screen, stderr=screen, cwd=small_run.ROOT, env=environment, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored, if the tests run in the background
            )  # fmt: skip
        return self.process

    def screen(self) -> str:
        return (self.folder / "screen.log").read_text()

    def when(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something to happen while the workflow runs."""
        assert self.process is not None

        def happened() -> object:
            assert self.process is None or self.process.poll() is None, f"ended before {what}:\n{self.screen()}"
            return condition()

        wait_for(happened, PATIENCE, what)

    def job(self, rule: str) -> tuple[str, str]:
        """(job, node) once a job of this rule or group runs, and what it runs has begun."""
        self.when(lambda: self.cluster.jobs(rule), f"a job of {rule}")
        return self.cluster.jobs(rule)[0]

    def log(self, pattern: str) -> None:
        self.when(lambda: list((self.folder / "results").glob(pattern)), pattern)

    def completes(self, expected: dict[str, str]) -> None:
        assert self.process is not None
        assert self.process.wait(PATIENCE) == 0, self.screen()
        assert small_run.results(self.folder) == expected
        assert small_run.leftovers(self.folder) == []

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def run(tmp_path: Path, cluster: Slurm, open_body_path: Path) -> Iterator[Run]:
    small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=0))
    started = Run(tmp_path, cluster)
    yield started
    started.end()
    with contextlib.suppress(AssertionError):
        cluster.ask("scancel", "--user", "root")


def cancel_a_job(run: Run) -> None:
    run.start()
    job, _ = run.job("shard")
    run.log("*/logs/photos/*.log")
    run.cluster.ask("scancel", job)


def set_a_node_down(run: Run) -> None:
    """In the middle of fitting. Slurm puts the job back into the queue, where it would wait for two minutes."""
    if run.process is None:
        run.start()
    run.log("*/logs/fitting/*.log")
    job, node = run.job("shard")
    run.cluster.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    run.when(
        lambda: re.search(r"Restarts=[1-9]", run.cluster.ask("scontrol", "show", "job", job)),
        "the job in the queue again",
    )
    run.cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    run.when(lambda: job in dict(run.cluster.jobs("shard")), "the job on another node")
    assert dict(run.cluster.jobs("shard"))[job] != node
    run.cluster.ask("scontrol", "update", f"NodeName={node}", "State=RESUME")


def interrupt_snakemake(run: Run) -> None:
    """While it trains; then the same command again."""
    if run.process is None:
        run.start()
    run.log("*/training/state/0*/state.json")
    run.job("training")
    assert run.process is not None
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.process.wait(PATIENCE) != 0
    wait_for(lambda: not run.cluster.jobs(states=["RUNNING", "COMPLETING", "PENDING"]), 120, "no job left behind")
    run.start()


def reach_a_time_limit(run: Run) -> None:
    """The shortest that Slurm knows, a minute. The training is held until then, however fast the machine; Slurm wakes what it ends."""
    run.start("--set-resources", "training:runtime=1", "training:slurm_extra='--no-kill'")
    run.log("*/training/state/0*/state.json")
    for process in training_processes(run.folder):
        process.suspend()
    run.when(lambda: "'TIMEOUT'" in run.screen(), "a time limit")


def training_processes(folder: Path) -> list[psutil.Process]:
    """Those of a training in this working directory."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if "ag3d.model.training" in process.cmdline() and process.cwd() == str(folder):
                processes.append(process)
    assert processes, "no training runs"
    return processes


def requeue(run: Run) -> None:
    """What preemption does."""
    run.start()
    run.log("*/training/state/0*/state.json")
    job, _ = run.job("training")
    run.cluster.ask("scontrol", "requeue", job)
    run.when(lambda: job in dict(run.cluster.jobs("training", ["PENDING"])), "the job in the queue again")
    time.sleep(2)
    run.cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_faults_one_after_the_other(run, undisturbed):
    cancel_a_job(run)
    set_a_node_down(run)
    interrupt_snakemake(run)
    run.completes(undisturbed)
    assert "CANCELLED" in run.screen()


@long
@pytest.mark.parametrize("fault", [cancel_a_job, set_a_node_down, interrupt_snakemake, requeue])
def test_a_fault_alone(run, undisturbed, fault):
    fault(run)
    run.completes(undisturbed)


@long
def test_a_time_limit_in_training(run, cluster, tmp_path_factory, open_body_path):
    folder = tmp_path_factory.mktemp("longer")
    longer = small_run.settings(steps=40, gpus=0)
    small_run.prepare(folder, open_body_path, longer)
    assert small_run.snakemake(folder, "data", "train", "--cores", "2").returncode == 0
    (run.folder / "config.yaml").write_text((folder / "config.yaml").read_text())
    reach_a_time_limit(run)
    run.completes(small_run.results(folder))


@long
def test_training_over_two_nodes(run, tmp_path_factory, open_body_path):
    """As two processes of one machine do."""
    folder = tmp_path_factory.mktemp("two")
    small_run.prepare(folder, open_body_path, small_run.settings(gpus=2))
    done = small_run.snakemake(folder, "data", "train", "--cores", "2", "--resources", "gpu=2")
    assert done.returncode == 0, done.stderr
    (run.folder / "config.yaml").write_text(yaml.safe_dump(small_run.settings(gpus=0, nodes=2)))
    run.start()
    run.log("*/training/state/0*/state.json")
    job, _ = run.job("training")
    assert run.cluster.ask("squeue", "--noheader", "--jobs", job, "--format", "%D").strip() == "2"
    interrupt_snakemake(run)
    run.completes(small_run.results(folder))
