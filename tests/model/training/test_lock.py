from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ag3d.core.errors import UserError
from ag3d.model.training import preemption
from ag3d.model.training.preemption import stop_signals
from ag3d.model.training.run_folder import run_lock

HOLD = "import sys, time; from pathlib import Path; from ag3d.model.training.run_folder import run_lock\nwith run_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


def test_second_trainer_is_refused_and_a_dead_one_is_replaced(tmp_path, caplog):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"pid {holder.pid}"), run_lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
    with caplog.at_level("INFO"), run_lock(tmp_path):
        assert f"pid {holder.pid}" in caplog.text
        with pytest.raises(UserError, match=rf"pid {os.getpid()}"), run_lock(tmp_path):
            pass
    caplog.clear()
    with run_lock(tmp_path):
        assert not caplog.text


def test_signals_are_noted(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    with stop_signals() as request:
        assert request.number == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.number == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGINT)  # an echo of the first
        monkeypatch.setattr(preemption, "ECHO", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
