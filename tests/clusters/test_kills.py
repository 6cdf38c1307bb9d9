"""kill -9 at random moments: the same command again goes on, and in the end all is as if nothing had happened.

One kill of each kind but the power cut; AG3D_LONG_TESTS=1 makes it fifty, seven of each and eight of shells. AG3D_SEED
chooses other moments. The training is started by torchrun in two processes, so that there is a launcher to kill.
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
from support import small_run

pytestmark = pytest.mark.slow

# What is killed. Readers of the training are threads and die with it; the workers that are processes render photographs.
# What a shell or a launcher has started outlives it: Snakemake takes the job for failed and removes its results, and the
# orphan goes on writing them.
KINDS = ["a data worker", "a stage", "a shell", "Snakemake", "training", "a launcher", "everything"]
GPUS = 2  # so many processes of the training, on the CPU
SEED = int(os.environ.get("AG3D_SEED", "1"))
EARLIEST, LATEST = 0.2, 12.0  # seconds from a start, or the last kill, to when a victim is looked for
DELAY = 2.5  # at most so many seconds after it was first seen
PATIENCE = 1200.0


def deck(dice: random.Random) -> list[str]:
    """What to kill, in turn."""
    if not small_run.LONG:
        return KINDS[:-1]
    kinds = [*KINDS * 7, "a shell"]
    dice.shuffle(kinds)
    return kinds


TARGETS = ("data", "train", "--cores", "2", "--resources", f"gpu={GPUS}")


class Run:
    """Runs of the workflow in one folder, which get killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        """Snakemake leaves its lock behind when it is killed: taken away, as its message says."""
        if list((self.folder / ".snakemake/locks").glob("*")):
            unlocked = small_run.snakemake(self.folder, "--unlock")
            assert unlocked.returncode == 0, unlocked.stderr
        line = small_run.command(self.folder, *TARGETS)
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        with open(self.folder / "screen.log", "a") as screen:
            self.main = subprocess.Popen(
                line,
                cwd=small_run.ROOT,
                env=small_run.environment(TMPDIR=str(temporary)),
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )
        return self.main

    def screen(self) -> str:
        return (self.folder / "screen.log").read_text()[-5000:]

    def processes(self) -> list[psutil.Process]:
        """All that work in this folder, whoever started them."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(self.folder) and process.pid != os.getpid():
                    found.append(process)
        return found

    def victims(self, kind: str) -> list[psutil.Process]:
        assert self.main is not None
        if kind == "Snakemake" or kind == "everything":
            return [psutil.Process(self.main.pid)] if self.main.poll() is None else []
        return [process for process in self.processes() if self.kind(process) == kind]

    def kind(self, process: psutil.Process) -> str:
        """Which kind of victim a process is."""
        with contextlib.suppress(psutil.Error):
            text = " ".join(process.cmdline())
            if self.main is not None and process.pid == self.main.pid:
                return "Snakemake"
            if "multiprocessing.spawn" in text:
                return "a data worker"
            if found := re.search(r"ag3d\.(preprocessing|model|evaluation)\.", text):
                if process.name() in ("bash", "sh"):
                    return "a shell"
                if "torch.distributed.run" in text:
                    return "a launcher"
                return "training" if found.group(1) == "model" else "a stage"
        return ""

    def wait_for_orphans(self) -> None:
        """What a killed Snakemake started goes on by itself; docs/workflow.md says to wait for it."""
        end = time.monotonic() + PATIENCE
        while self.processes():
            assert time.monotonic() < end, self.processes()
            time.sleep(0.5)

    def at_work(self) -> str:
        """The stages, to tell at which moment a kill came."""
        found = set()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                text = " ".join(process.cmdline())
                found |= set(re.findall(r"ag3d\.(?:preprocessing|model|evaluation)\.(\w+)", text))
        return " + ".join(sorted(found)) or "between stages"

    def kill(self, kind: str, dice: random.Random) -> str:
        """Kill one of that kind, or everything as a power cut does. Returns during what; empty if none is there."""
        victims = self.victims(kind)
        if not victims:
            return ""
        moment = self.at_work()
        if kind == "everything":
            for process in [*self.processes(), *self.processes()]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        try:
            dice.choice(victims).kill()
        except psutil.NoSuchProcess:
            return moment if kind == "everything" else ""
        return moment


def test_killed_at_random_moments(tmp_path, tmp_path_factory, open_body_path, capsys):
    undisturbed = small_run.undisturbed(tmp_path_factory.mktemp("undisturbed"), open_body_path, *TARGETS, gpus=GPUS)
    dice = random.Random(SEED)
    waiting = deck(dice)
    hits: Counter[str] = Counter()
    moments: Counter[str] = Counter()
    completed = starts = 0
    run = Run(tmp_path)

    def fresh() -> None:
        for name in ("results", ".snakemake"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=GPUS))

    def whole() -> None:
        nonlocal completed
        assert small_run.results(tmp_path) == undisturbed
        assert small_run.leftovers(tmp_path) == []
        completed += 1

    def wait(seconds: float) -> bool:
        """Whether Snakemake ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            main.wait(seconds)
        return main.poll() is not None

    fresh()
    main = run.start()
    starts, hurt = 1, False
    while True:
        ended = wait(dice.uniform(EARLIEST, LATEST) if waiting else PATIENCE)
        while waiting and not ended:  # until there is something of the kind, then a moment more
            if run.victims(waiting[0]):
                ended = wait(dice.uniform(0, DELAY))
                if not ended and (moment := run.kill(waiting[0], dice)):
                    break
            ended = ended or wait(0.1)
        if waiting and not ended:
            kind = waiting.pop(0)
            hits[kind] += 1
            moments[moment] += 1
            hurt = True
            with open(tmp_path / "kills.log", "a") as log:
                print(f"{sum(hits.values())}: {kind} during {moment}; {completed} complete runs before", file=log)
            if kind not in ("Snakemake", "everything"):
                continue  # Snakemake finishes what does not depend on it, and ends with status 1
            main.wait()
        assert main.poll() is not None, run.screen()
        assert main.returncode == 0 or hurt, run.screen()
        run.wait_for_orphans()  # also of a shell that was killed alone; a second trainer would refuse to start
        if main.returncode == 0:
            whole()
            if not waiting:
                break
            fresh()
        main = run.start()
        starts, hurt = starts + 1, False
    assert hits == Counter(deck(random.Random(SEED)))
    with capsys.disabled():
        print(f"\n{sum(hits.values())} kills, {starts} starts, {completed} complete runs (seed {SEED})")
        print("  killed: " + ", ".join(f"{what} {number}" for what, number in sorted(hits.items())))
        print("  during: " + ", ".join(f"{what} {number}" for what, number in sorted(moments.items())))
        print(f"  left in TMPDIR: {sorted(path.name for path in (tmp_path / 'tmp').iterdir())}")


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
    """The clock was a day ahead while mattes were cut, and a year behind while the data set was packed: Snakemake tells what looks
    newer than what is made from it, and never is anything silently wrong."""
    small_run.prepare(tmp_path, open_body_path, small_run.settings(gpus=0))
    data = tmp_path / "results" / small_run.DATA

    def jump(stage: str, days: int) -> None:
        then = time.time() + days * 86400
        for path in (data / stage).glob("*"):
            os.utime(path, (then, then))

    def again() -> set[str]:
        """The same command; the stages that it ran."""
        done = small_run.snakemake(tmp_path, "data", "train", "--cores", "2", "--printshellcmds")
        assert done.returncode == 0, done.stdout + done.stderr
        assert small_run.results(tmp_path) == undisturbed
        assert small_run.leftovers(tmp_path) == []
        return set(
            re.findall(r"-m ag3d\.(?:launch.* ag3d\.)?(?:preprocessing|model)\.(\w+)", done.stdout + done.stderr)
        )

    mattes = [f"results/{small_run.DATA}/matting/{shard:05d}.zip" for shard in range(2)]
    assert small_run.snakemake(tmp_path, *mattes, "--cores", "2").returncode == 0
    jump("matting", 1)
    told = small_run.snakemake(tmp_path, "data", "train", "--cores", "2")
    assert told.returncode != 0
    assert "matting/00000.zip" in told.stderr
    assert "clock skew" in told.stderr
    jump("matting", 0)  # touch, as docs/troubleshooting.md says
    assert {"fitting", "dataset"} <= again()
    jump("dataset", -365)
    jump("matting", 1)  # after others were made from them
    assert "training" not in again()
    jump("matting", 0)
    assert again() == set()
