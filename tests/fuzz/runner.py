"""Reads files with a target and judges: a value or one line of the project's own is clean, all else is not.

Unclean: any other exception, a message of several lines or with control characters, more than 10 seconds of the
processor, memory out of proportion to the file, and whatever the audit hook sees: programs, connections, libraries,
files opened outside the target's folder.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from ag3d.core import console
from ag3d.core.files import cache_folder
from tests.fuzz.mutators import Mutator, mutated

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10  # of the processor, for one file
MEMORY = 256 << 20  # bytes that a reader may take beside SHARE times the file's size
SHARE = 100
PICTURE_MEMORY = 1 << 30  # for readers of pictures of up to 64 million pixels
HUGE = 2 << 30  # for readers of photographs
LONGEST = 2000  # letters of a message
_PACKAGES = ("ag3d", "model", "preprocessing", "evaluation")
PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "subprocess.Popen")
_OTHERS = ("socket.connect", "socket.bind", "socket.getaddrinfo", "ctypes.dlopen")
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "shutil.rmtree",
)
_MAY_BE_READ = ("/proc/", "/sys/", "/usr/", "/lib", "/etc/localtime", *{sys.prefix, sys.base_prefix, str(ROOT)})
_OWN_FILES = (str(cache_folder()), "/dev/null", "/dev/urandom")


@dataclass(frozen=True)
class Target:
    """A reader of the project. `read` gets the path of the damaged file."""

    name: str
    file: str  # its name, or path below the target's folder
    read: Callable[[Path], object]
    seeds: Callable[[], Sequence[bytes]]  # whole files; none where the mutators invent them
    mutators: tuple[Mutator, ...]
    beside: Callable[[Path], None] | None = None  # writes what the reader needs beside it into the target's folder
    clean: tuple[str, ...] = ()  # names of exceptions, beside UserError, that the reader's callers expect
    events: tuple[str, ...] = ()  # of the audit hook, that are the reader's business
    memory: int = MEMORY
    cost: int = 1  # how many runs of other targets one of this is worth
    needs: tuple[str, ...] = ()  # packages that are not always there


def writes(name: str, seeds: Callable[[], Sequence[bytes]]) -> Callable[[Path], None]:
    """Puts the first of the whole files beside a target's file."""

    def write(folder: Path) -> None:
        (folder / name).write_bytes(seeds()[0])

    return write


@dataclass
class Finding:
    """Something unclean, by its place; `input` is the first file that did it."""

    target: str
    kind: str  # the exception, or what else was seen
    place: str  # file:line of the project
    message: str
    input: str = ""
    run: int = 0
    count: int = 1


class TooLong(BaseException):
    """A file takes too much of the processor's time."""


@dataclass
class Watch:
    """What the audit hook sees while `folder` is set."""

    folder: str = ""
    allowed: tuple[str, ...] = ()
    seen: list[str] = field(default_factory=list)

    def install(self) -> None:
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or event in self.allowed:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, (str, bytes)) and not self._is_mine(path):
                if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                    self.seen.append(f"opened for writing: {path!r:.200}")
                elif not os.fsdecode(path).startswith(_MAY_BE_READ):
                    self.seen.append(f"read: {path!r:.200}")
        elif (
            event in PROGRAMS
            or event in _OTHERS
            or (
                event in _CHANGES
                and not all(self._is_mine(path) for path in arguments if isinstance(path, (str, bytes)))
            )
        ):
            self.seen.append(f"{event}{arguments!r:.200}")

    def _is_mine(self, path: str | bytes) -> bool:
        whole = os.path.abspath(os.fsdecode(path))
        return whole.startswith((self.folder, *_OWN_FILES))


class _Lines(logging.Handler):
    """What is logged must be lines, too."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: tuple[str, str] | None = None  # place and text

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if not _is_line(text):
            self.wrong = f"{_of_project(record.pathname) or record.name}:{record.lineno}", text


def _is_line(text: str) -> bool:
    return len(text) <= LONGEST and text.isprintable()


class Runner:
    """Reads files with targets, in a process of its own: it limits the process's memory and hears its audit events."""

    def __init__(self, folder: Path, inputs: Path) -> None:
        self.folder, self.inputs = folder, inputs
        self.watch, self.lines = Watch(), _Lines()
        self.slowest = 0.0
        warnings.simplefilter("ignore")
        sys.dont_write_bytecode = True
        console.run(lambda: None)  # which says how log lines are written
        root = logging.getLogger()
        self.lines.setFormatter(root.handlers[0].formatter)
        root.handlers[:] = [self.lines]
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(folder)
        signal.signal(signal.SIGPROF, _too_long)
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (6 << 30), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.watch.install()

    @contextlib.contextmanager
    def prepared(self, target: Target) -> Iterator[Path]:
        """The target's folder, with all that lies beside its file. Everything is imported by reading a whole file."""
        home = self.folder / target.name
        shutil.rmtree(home, ignore_errors=True)
        path = home / target.file
        path.parent.mkdir(parents=True)
        if target.beside is not None:
            target.beside(home)
        try:
            yield path
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def whole(self, target: Target, path: Path, data: bytes) -> Finding | None:
        """Read a file that is not damaged, which must succeed."""
        path.write_bytes(data)
        try:
            target.read(path)
        except Exception as error:
            return Finding(target.name, "whole file", where(error), f"{type(error).__name__}: {error}"[:300])
        return None

    def run(self, target: Target, path: Path, data: bytes) -> Finding | None:
        """Read a file. Returns what was unclean."""
        path.write_bytes(data)
        before, start = _memory(), time.process_time()
        found = self._read(target, path)
        seconds, allowed = time.process_time() - start, target.memory + SHARE * len(data)
        self.slowest = max(self.slowest, seconds)
        if found is None and _peak() - before > allowed:
            _forget_peak()
            before = _memory()
            self._read(target, path)  # again: the process itself may have grown
            if (taken := _peak() - before) > allowed:
                found = Finding(
                    target.name, "memory", f"of {target.name}", f"{taken >> 20} MB for a file of {len(data)} bytes"
                )
            _forget_peak()
        return found

    def keep(self, finding: Finding, path: Path) -> None:
        """Save the file that did it."""
        self.inputs.mkdir(parents=True, exist_ok=True)
        place = "".join(letter if letter.isalnum() else "-" for letter in f"{finding.kind}-{finding.place}")
        kept = self.inputs / f"{finding.target}-{place[:100]}{path.suffix}"
        if path.exists() and not kept.exists():
            shutil.copy(path, kept)
        finding.input = str(kept)

    def _read(self, target: Target, path: Path) -> Finding | None:
        self.watch.seen, self.lines.wrong = [], None
        self.watch.allowed, self.watch.folder = target.events, str(self.folder)
        screen = io.StringIO()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            with contextlib.redirect_stderr(screen):
                console.run(lambda: _discard(target.read(path)))
            finding = None
        except SystemExit as ended:
            finding = _of_message(target, screen.getvalue(), ended)
        except BaseException as error:
            finding = None if type(error).__name__ in target.clean else _of_error(target, error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.watch.folder = ""
        if self.watch.seen:
            return Finding(
                target.name, "audit event", self.watch.seen[0].split("(")[0].split(":")[0], self.watch.seen[0]
            )
        if finding is None and self.lines.wrong:
            place, text = self.lines.wrong
            return Finding(target.name, "log", place, repr(text[:300]))
        return finding


def _discard(_: object) -> None:
    """A command returns nothing."""


def _too_long(*_: object) -> None:
    raise TooLong


def _of_message(target: Target, text: str, ended: SystemExit) -> Finding | None:
    """An error line as a person sees it, perhaps under bars of progress."""
    text = text[text.rfind("\nerror: ") + 1 :]
    if ended.code == 2 and _is_line(text.removesuffix("\n")):
        return None
    place = where(ended.__context__) if ended.__context__ is not None else ""
    return Finding(target.name, "message", place, f"exit {ended.code}, {len(text)} letters: {text[:300]!r}")


def _of_error(target: Target, error: BaseException) -> Finding:
    lines = " ".join(str(error).split())[:200].encode(errors="replace").decode()
    return Finding(target.name, type(error).__name__, where(error), lines)


def where(error: BaseException) -> str:
    """The project's innermost place on an exception's way."""
    frames = [(_of_project(each.filename), each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    known = [f"{file}:{line}" for file, line in frames if file]
    return known[-1] if known else "?"


def _of_project(file: str) -> str:
    """The path of a module of the project, from its root; empty for others."""
    path = Path(file).resolve()
    inside = path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in _PACKAGES
    return str(path.relative_to(ROOT)) if inside else ""


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> None:
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def damaged(target: Target, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
    """File number `number` of a target: the same for the same seed."""
    random = Random(f"{seed} {target.name} {number}")
    return mutated(random, random.choice(seeds or [b""]), target.mutators)
