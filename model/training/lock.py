"""One trainer per run: a lock that dies with its owner."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from ag3d.core.errors import UserError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`. Raises UserError that names the owner if another trainer holds it.

    The kernel drops the lock when its owner ends, however it ends, so a lock left behind is simply taken over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock.json"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"another trainer is at work in {folder} ({_owner(path)}): wait for it, or stop it and run again"
            ) from error
        if os.fstat(handle).st_size:
            log.info("taking over from a trainer that ended without a goodbye (%s)", _owner(path))
        mine = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        if job := os.environ.get("SLURM_JOB_ID"):
            mine["slurm_job"] = job
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(mine).encode(), 0)
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text())
        return ", ".join(f"{name} {value}" for name, value in owner.items())
    except (OSError, ValueError):
        return "owner unknown"
