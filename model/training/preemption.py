"""Ask the training to stop: what Ctrl-C, Slurm and Kubernetes send is noted, and obeyed between two steps."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from collections.abc import Iterator
from types import FrameType

log = logging.getLogger(__name__)
ECHO = 1.0  # seconds: a launcher passes on the Ctrl-C that the terminal has sent to all its processes already
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopRequest:
    """`number` is 0, or the signal that asks to stop."""

    def __init__(self) -> None:
        self.number = 0
        self._noted = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.number and time.monotonic() - self._noted < ECHO:
            return
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C means now
        self.number, self._noted = number, time.monotonic()
        log.info("%s received: saving the state after this step", signal.Signals(number).name)


@contextlib.contextmanager
def stop_signals() -> Iterator[StopRequest]:
    request = StopRequest()
    before = {number: signal.signal(number, request) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
