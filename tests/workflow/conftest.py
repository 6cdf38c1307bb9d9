"""The small end-to-end run, made once for all tests that look at what it left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import ROOT
from support.locks import locked
from support.workflow import snakemake


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which config/smoke.yaml ran to its end. Shared, by pytest-xdist's workers too: do not change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    told = folder / "snakemake.log"
    with locked(folder.with_suffix(".lock")):
        if not told.exists():
            folder.mkdir()
            done = snakemake(folder, "--configfile", str(ROOT / "config/smoke.yaml"), "--cores", "all")
            told.write_text(f"{done.returncode}\n{done.stdout}{done.stderr}")
    assert told.read_text().startswith("0\n"), told.read_text()[-5000:]
    return folder
