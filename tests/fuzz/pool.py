"""Several processes that read damaged files, and what becomes of those that crash or hang."""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.fuzz.runner import Finding, Runner, Target, damaged

CHUNK = 2000  # runs of a cheap target that a process does at a time
SHIFT = 10.0  # seconds at most for a job, where the time is what is limited
PATIENCE = 120.0  # seconds of the clock after which a process that says nothing is ended
_fork = multiprocessing.get_context("fork")


@dataclass
class Result:
    """Of one target."""

    runs: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    skipped: str = ""
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)

    def add(self, finding: Finding) -> None:
        known = self.findings.setdefault((finding.kind, finding.place), finding)
        if known is not finding:
            known.count += finding.count


@dataclass
class Job:
    """Runs `start` to `stop` of a target, as many as can be done in `seconds`."""

    target: Target
    start: int
    stop: int
    seconds: float = math.inf


@dataclass
class Fuzzing:
    """What all processes share. `corpus`: a folder with more whole files, in a folder for each target's name."""

    seed: int
    scratch: Path
    inputs: Path
    corpus: Path | None = None

    def seeds(self, target: Target) -> list[bytes]:
        more = sorted((self.corpus / target.name).glob("*")) if self.corpus else []
        return [*target.seeds(), *(path.read_bytes() for path in more if path.is_file())]


class Worker:
    """A process that does one job after the other."""

    def __init__(self, fuzzing: Fuzzing, number: int) -> None:
        self.fuzzing, self.number = fuzzing, number
        self.folder = fuzzing.scratch / str(number)
        self.current = _fork.RawValue("q", -1)  # the run that it is at
        self.job: Job | None = None
        self.since = time.monotonic()
        self._before = -1
        self.connection, theirs = _fork.Pipe()
        self.process = _fork.Process(target=_work, args=(fuzzing, self.folder, theirs, self.current), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job, self.since, self.current.value = job, time.monotonic(), -1
        self.connection.send((job.target.name, job.start, job.stop, job.seconds))

    def hangs(self) -> bool:
        if self.job is None or self.current.value != self._before:
            self._before, self.since = self.current.value, time.monotonic()
        return time.monotonic() - self.since > PATIENCE

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self, kind: str) -> Finding | None:
        """What the process was at when it died, with the file saved."""
        assert self.job is not None
        path = self.folder / self.job.target.name / self.job.target.file
        if self.current.value < 0 or not path.exists():
            return None
        finding = Finding(self.job.target.name, kind, f"of {self.job.target.name}", "", run=self.current.value)
        self.fuzzing.inputs.mkdir(parents=True, exist_ok=True)
        kept = (
            self.fuzzing.inputs / f"{self.job.target.name}-{kind.replace(' ', '-')}-{self.current.value}{path.suffix}"
        )
        shutil.copy(path, kept)
        finding.input = str(kept)
        return finding


def _work(fuzzing: Fuzzing, folder: Path, connection: Connection, current: Any) -> None:
    from tests.fuzz.targets import TARGETS

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    runner = Runner(folder, fuzzing.inputs)
    seeds: dict[str, list[bytes]] = {}
    while True:
        try:
            name, start, stop, limit = connection.recv()
        except EOFError:
            return
        began, runner.slowest, runs = time.process_time(), 0.0, 0
        reason = missing(TARGETS[name])
        if not reason:
            try:
                runs = _read_many(fuzzing, runner, Job(TARGETS[name], start, stop, limit), seeds, connection, current)
            except Exception as error:  # of what makes whole files, not of the readers
                reason = f"cannot be prepared: {type(error).__name__}: {error}"
        connection.send((reason, runs, time.process_time() - began, runner.slowest))


def _read_many(
    fuzzing: Fuzzing, runner: Runner, job: Job, seeds: dict[str, list[bytes]], connection: Connection, current: Any
) -> int:
    """Returns how many files were read."""
    target = job.target
    with runner.prepared(target) as path:

        def tell(finding: Finding | None, number: int) -> None:
            if finding is not None:
                finding.run = number
                runner.keep(finding, path)
                connection.send(finding)

        if target.name not in seeds:
            seeds[target.name] = fuzzing.seeds(target)
            for number, data in enumerate(target.seeds()):  # all: whatever is imported on the way is imported now
                finding = runner.whole(target, path, data)
                tell(None if number else finding, -1)
        end = time.monotonic() + job.seconds
        for number in range(job.start, job.stop):
            if time.monotonic() > end:
                return number - job.start
            current.value = number
            tell(runner.run(target, path, damaged(target, seeds[target.name], fuzzing.seed, number)), number)
    return job.stop - job.start


def missing(target: Target) -> str:
    """Why a target is left out on this machine."""
    absent = [name for name in target.needs if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


def fuzz(
    fuzzing: Fuzzing, targets: Iterable[Target], processes: int, runs: int = 0, seconds: float = 0.0, first: int = 0
) -> dict[str, Result]:
    """Read damaged files: `runs` for each target, or round and round for `seconds`, once round at least."""
    targets = list(targets)
    results = {target.name: Result() for target in targets}
    end = time.monotonic() + seconds if seconds else None
    shift = min(SHIFT, seconds * processes / (2 * len(targets))) if seconds else math.inf
    jobs = _rounds(targets, results, 0 if seconds else runs, first, shift)
    waiting: list[Job] = []
    given: set[str] = set()
    workers = [Worker(fuzzing, number) for number in range(processes)]
    number = processes

    def next_job() -> Job | None:
        if waiting:
            return waiting.pop()
        over = end is not None and time.monotonic() > end and len(given) == len(targets)
        return None if over else next(jobs, None)

    def give(worker: Worker) -> bool:
        job = next_job()
        if job is not None:
            given.add(job.target.name)
            worker.give(job)
        else:
            worker.job = None
        return job is not None

    try:
        busy = [worker for worker in workers if give(worker)]
        while busy:
            ready = wait([worker.connection for worker in busy], timeout=1.0)
            for worker in list(busy):
                kind = ""
                if worker.connection in ready:
                    kind = _hear(worker, results)
                elif worker.hangs():
                    kind = "hang"
                if not kind:
                    continue
                if kind == "done":
                    if not give(worker):
                        busy.remove(worker)
                    continue
                assert worker.job is not None
                job, at, finding = worker.job, worker.current.value, worker.last_words(kind)
                if finding is not None:
                    results[job.target.name].add(finding)
                    results[job.target.name].runs += at + 1 - job.start
                    if at + 1 < job.stop:
                        waiting.append(Job(job.target, at + 1, job.stop, job.seconds))
                else:
                    results[job.target.name].skipped = f"{kind} before the first file"
                worker.end()
                busy.remove(worker)
                workers.remove(worker)
                workers.append(Worker(fuzzing, number))
                number += 1
                if give(workers[-1]):
                    busy.append(workers[-1])
    finally:
        for worker in workers:
            worker.end()
    return results


def _hear(worker: Worker, results: dict[str, Result]) -> str:
    """Take in what a process says: `done`, how it died, or nothing of importance."""
    assert worker.job is not None
    result = results[worker.job.target.name]
    try:
        said = worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode or 0
        return f"signal {-code}" if code < 0 else f"exit {code}"
    if isinstance(said, Finding):
        result.add(said)
        return ""
    result.skipped, runs, seconds, slowest = said
    result.runs += runs
    result.seconds += seconds
    result.slowest = max(result.slowest, slowest)
    return "done"


def _rounds(targets: list[Target], results: dict[str, Result], runs: int, first: int, shift: float) -> Iterable[Job]:
    """Jobs in turn, each of `shift` seconds at most; without a number of `runs` without end."""
    turn = 0
    while True:
        left = False
        for target in targets:
            size = max(1, (CHUNK if runs else 10 * CHUNK) // target.cost)
            start = first + turn * size
            stop = start + size if not runs else min(start + size, first + max(1, runs // target.cost))
            if start < stop and not results[target.name].skipped:
                left = True
                yield Job(target, start, stop, shift)
        turn += 1
        if not left:
            return
