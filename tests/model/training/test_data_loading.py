"""The benchmark of data loading runs, and says what it must."""

from __future__ import annotations

import subprocess
import sys

from support import ROOT
from support.training_command import environment

from ag3d.core.files import read_json

SCRIPT = ROOT / "benchmarks/data_loading.py"


def test_it_measures_speed_and_memory(tmp_path):
    options = [
        "--people",
        "4",
        "--side",
        "64",
        "--resolution",
        "32",
        "--batch",
        "2",
        "--workers",
        "1",
        "--seconds",
        "1",
    ]
    line = [sys.executable, str(SCRIPT), *options, "--output", str(tmp_path / "found.json")]
    done = subprocess.run(line, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "found.json")
    assert found["images"] > 10
    assert found["images_per_second"] > 10
    assert len(found["memory"]) > 5
    assert (found["resolution"], found["workers"], found["dtype"]) == (32, 1, "uint8")
    assert f"{found['images_per_second']:.1f} images/s at 32 px with 1 workers" in done.stdout
