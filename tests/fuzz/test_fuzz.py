"""A few damaged files for each reader, the same in every run. Many: python -m tests.fuzz --seconds 600."""

from __future__ import annotations

import json
import subprocess
import sys

from support import ROOT

RUNS = 60  # for each target; slow ones one


def test_readers_end_in_a_value_or_an_error_line(tmp_path):
    results = tmp_path / "results.json"
    line = [sys.executable, "-m", "tests.fuzz", "--runs", str(RUNS), "--processes", "2", "--results", str(results)]
    done = subprocess.run([*line, "--inputs", str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert results.exists(), done.stdout + done.stderr
    content = json.loads(results.read_text())
    assert not content["findings"], done.stdout
    skipped = {name: target["skipped"] for name, target in content["targets"].items() if target["skipped"]}
    assert not [name for name, reason in skipped.items() if "not installed" not in reason], skipped
