"""What a person sees while a command runs: log lines, progress, and errors without tracebacks."""

from __future__ import annotations

import argparse
import ctypes
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from tqdm import tqdm

from ag3d.core.errors import UserError, printable

T = TypeVar("T")
log = logging.getLogger("ag3d")
PR_SET_PDEATHSIG = 1  # of Linux' prctl


def progress(items: Iterable[T], what: str, total: int | None = None, unit: str = "it") -> Iterable[T]:
    """A progress bar on a terminal; in a log file, a line every ten seconds."""
    interactive = sys.stderr.isatty()
    bar: Iterable[T] = tqdm(
        items,
        desc=what,
        total=total,
        unit=unit,
        mininterval=0.2 if interactive else 10,
        ascii=not interactive,
        dynamic_ncols=interactive,
    )
    return bar


class _Help(argparse.RawDescriptionHelpFormatter):
    """The description as it stands; defaults are told where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default in (None, False, "", [], argparse.SUPPRESS) or "default" in (action.help or "")
        return action.help if told else f"{action.help} (default: %(default)s)"


def parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """The argument parser of a command; `module` names it when run as `python -m`, described by the module's docstring."""
    return argparse.ArgumentParser(
        prog=sys.argv[0] if sys.argv[0].startswith("ag3d ") else f"python -m {module}",
        description=doc,
        formatter_class=_Help,
    )


class _LogLine(logging.Formatter):
    """One line for each message, whatever file names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)


def run(main: Callable[[], None]) -> None:
    """Run a command: plain log lines, and user errors as one line and exit status 2."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LogLine("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    level = os.environ.get("AG3D_LOG", "").upper()
    logging.basicConfig(level=level if level in logging.getLevelNamesMapping() else "INFO", handlers=[handler])
    # Processes of torchrun end with that (ag3d.core.launch).
    if os.environ.get("AG3D_ENDS_WITH_SHELL") and "RANK" not in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    try:
        main()
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "no space left on the disk: free some space"
        elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            reason = f"{error.strerror}: allow it, or choose another folder,"
        else:
            raise
        print(
            f"error: {printable(error.filename or 'a file')}: {reason} and run the same command again", file=sys.stderr
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
