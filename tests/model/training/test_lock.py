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


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_a_lock_that_is_no_file_is_told(tmp_path, kind):
    path = tmp_path / "lock.json"
    (tmp_path / "mine.txt").write_text("mine")
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "link": lambda: path.symlink_to(tmp_path / "mine.txt")}[
        kind
    ]()
    with pytest.raises(UserError, match="lock.json is no plain file"), run_lock(tmp_path):
        pass
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["[]", "3", "[" * 100_000, "\x1b[31m", '{"pid": {}}'])
def test_whatever_a_dead_trainer_left_in_its_lock_is_taken_over(tmp_path, content):
    (tmp_path / "lock.json").write_text(content)
    with run_lock(tmp_path):
        pass


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
