"""A small folder of results."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.small_results import make_data, make_run

from ag3d.model.body.body import Body


@pytest.fixture(scope="session")
def small_results(tmp_path_factory: pytest.TempPathFactory, tiny_body: Body) -> Path:
    """A folder `results` with data set `data` and run `run`. Shared: copy it before changing anything."""
    root = tmp_path_factory.mktemp("results")
    make_data(root / "data", tiny_body)
    make_run(root / "run")
    return root
