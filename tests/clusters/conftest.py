"""An undisturbed run, once, that disturbed ones are compared with."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import small_run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, open_body_path: Path) -> dict[str, str]:
    """Hashes of the results of data set and training."""
    return small_run.undisturbed(tmp_path_factory.mktemp("undisturbed"), open_body_path, "data", "train")
