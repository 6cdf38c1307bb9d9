from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body

sys.path.insert(0, str(Path(__file__).parent))
from small_results import make_data, make_run


@pytest.fixture(scope="session")
def small_results(tmp_path_factory: pytest.TempPathFactory, tiny_body: Body) -> Path:
    """A folder `results` with data set `data` and run `run`. Shared: copy it before changing anything."""
    root = tmp_path_factory.mktemp("results")
    make_data(root / "data", tiny_body)
    make_run(root / "run")
    return root


@pytest.fixture(scope="session")
def blazepose() -> Path:
    """Folder of the embedded networks. Skips where they can't be fetched."""
    from ag3d.core.files import cache_folder
    from ag3d.preprocessing.models import MODELS, extract

    folder = cache_folder() / "tests" / "blazepose"
    if not all((folder / name).exists() for name in MODELS):
        try:
            extract(folder)
        except UserError as error:
            pytest.skip(f"the embedded networks are not at hand: {error}")
    return folder
