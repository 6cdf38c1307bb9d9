"""kill -9 at random moments: the same command again goes on, and in the end all is as if nothing had happened.

Three kills; AG3D_LONG_TESTS=1 makes it fifty. AG3D_SEED chooses other moments.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import small_run

KILLS = 50 if small_run.LONG else 3
SEED = int(os.environ.get("AG3D_SEED", "1"))
LONGEST = 25.0 if small_run.LONG else 15.0  # seconds from a start to a kill
PATIENCE = 1200.0


class Run:
    """Runs of the workflow in one folder, which get killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> subprocess.Popen[bytes]:
        """Snakemake leaves its lock behind when it is killed: taken away, as its message says."""
        if list((self.folder / ".snakemake/locks").glob("*")):
            unlocked = small_run.snakemake(self.folder, "--unlock")
            assert unlocked.returncode == 0, unlocked.stderr
        line = small_run.command(self.folder, "data", "train", "--cores", "2")
        with open(self.folder / "screen.log", "a") as screen:
            return subprocess.Popen(
                line,
                cwd=small_run.ROOT,
                env=small_run.environment(),
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )

    def processes(self) -> list[psutil.Process]:
        """All that work in this folder, whoever started them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(self.folder) and process.pid != os.getpid():
                    found.append(process)
        return found

    def wait_for_orphans(self) -> None:
        """What a killed Snakemake started goes on by itself; docs/workflow.md says to wait for it."""
        end = time.monotonic() + PATIENCE
        while self.processes():
            assert time.monotonic() < end, self.processes()
            time.sleep(0.5)


def module_of(process: psutil.Process) -> str:
    """Which stage a process is part of."""
    with contextlib.suppress(psutil.Error):
        text = " ".join(process.cmdline())
        found = re.search(r"ag3d\.(?:preprocessing|model|evaluation)\.([\w.]+)", text)
        return found.group(1) if found else "snakemake" if "snakemake" in text else process.name()
    return "gone"


def kill(run: Run, main: subprocess.Popen[bytes], dice: random.Random) -> str:
    """Kill everything as a power cut does, or Snakemake, or one process of a stage. Returns what was hit."""
    kind = dice.choice(["everything", "snakemake", "a stage", "a stage"])
    stages = [process for process in run.processes() if process.pid != main.pid]
    at_work = next(
        (name for process in stages if (name := module_of(process)) not in ("gone", "bash", "sh")), "between"
    )
    if kind == "a stage" and stages:
        victim = dice.choice(stages)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        return f"a process of {at_work}"  # Snakemake finishes what does not depend on it, and ends with status 1
    if kind == "everything":
        for process in [*stages, *run.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(main.pid, signal.SIGKILL)
    main.wait()
    run.wait_for_orphans()
    return f"{'everything' if kind == 'everything' else 'Snakemake'} during {at_work}"


def test_killed_at_random_moments(tmp_path, open_body_path, undisturbed, capsys):
    dice = random.Random(SEED)
    hits: Counter[str] = Counter()
    completed = starts = 0
    run = Run(tmp_path)

    def fresh() -> None:
        for name in ("results", ".snakemake"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=0))

    def whole() -> None:
        nonlocal completed
        assert small_run.results(tmp_path) == undisturbed
        assert small_run.leftovers(tmp_path) == []
        completed += 1

    fresh()
    main: subprocess.Popen[bytes] | None = None
    hurt = False
    while sum(hits.values()) < KILLS or main is not None:
        if main is None:
            run.wait_for_orphans()  # of a shell that was killed alone; a second trainer would refuse to start
            main, hurt = run.start(), False
            starts += 1
        try:
            status = main.wait(dice.uniform(0.2, LONGEST) if sum(hits.values()) < KILLS else PATIENCE)
        except subprocess.TimeoutExpired:
            hit = kill(run, main, dice)
            hits[hit] += 1
            if hit.startswith("a process"):
                hurt = True
            else:
                main = None
            continue
        assert status == 0 or hurt, (tmp_path / "screen.log").read_text()[-5000:]
        main = None
        if status == 0:
            whole()
            fresh()
    run.wait_for_orphans()
    main = run.start()
    starts += 1
    assert main.wait(PATIENCE) == 0, (tmp_path / "screen.log").read_text()[-5000:]
    whole()
    with capsys.disabled():
        print(f"\n{sum(hits.values())} kills, {starts} starts, {completed} complete runs (seed {SEED})")
        for what, number in sorted(hits.items()):
            print(f"  {number:3d}  {what}")


def test_two_runs_in_one_folder(tmp_path, open_body_path):
    """The second is told so; the first is not disturbed."""
    small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=0))
    run = Run(tmp_path)
    first = run.start()
    try:
        end = time.monotonic() + 120
        while not list((tmp_path / ".snakemake/locks").glob("*")):
            assert time.monotonic() < end
            time.sleep(0.1)
        second = small_run.snakemake(tmp_path, "data", "--cores", "1")
        assert second.returncode != 0
        assert "cannot be locked" in second.stdout + second.stderr
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
        run.wait_for_orphans()


@pytest.mark.skipif(not small_run.LONG, reason="takes minutes; AG3D_LONG_TESTS=1 asks for it")
def test_a_clock_that_jumps(tmp_path, open_body_path, undisturbed):
    """The clock was a day ahead while one stage ran, and goes back: its results look newer than what was made from them."""
    small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=0))
    assert small_run.snakemake(tmp_path, "data", "train", "--cores", "2").returncode == 0
    tomorrow = time.time() + 86400
    for path in (tmp_path / "results" / small_run.DATA / "mattes").glob("*.zip"):
        os.utime(path, (tomorrow, tomorrow))
    again = small_run.snakemake(tmp_path, "data", "train", "--cores", "2")
    assert again.returncode == 0, again.stderr
    assert small_run.results(tmp_path) == undisturbed
    assert "fitting" in again.stderr
    assert "training" not in re.findall(r"^rule (\w+)", again.stderr, re.MULTILINE)
