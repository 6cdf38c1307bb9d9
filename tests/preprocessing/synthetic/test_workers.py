"""The processes that render photographs end with the one that started them, also if that is killed."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest


@pytest.mark.slow
def test_no_worker_is_left_behind(tmp_path, open_body_path):
    line = [sys.executable, "-m", "ag3d.preprocessing.synthetic", "--body", open_body_path, "--workers", "2"]
    line += ["--garments", open_body_path.with_name("garments.npz"), "--output-photos", tmp_path / "photos"]
    line += ["--output-truth", tmp_path / "truth", "--count", "200"]
    main = subprocess.Popen([str(word) for word in line], stderr=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    end = time.monotonic() + 120
    try:
        while len(workers) < 2:
            assert main.poll() is None
            assert time.monotonic() < end
            found = psutil.Process(main.pid).children()
            # At work: they have loaded what they render with.
            workers = [child for child in found if child.memory_info().rss > 150e6]
            time.sleep(0.1)
    finally:
        main.kill()
        main.wait()
    _, alive = psutil.wait_procs(workers, timeout=20)
    for worker in alive:
        worker.kill()
    assert not alive
