"""The tiny body under the name that the stages' options use; the landmark models, and a picture of a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from figure import Figure, draw

from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.preprocessing.fetch import cache_folder
from ag3d.preprocessing.models import MODELS, extract
from ag3d.preprocessing.people.blazepose import BlazePose


@pytest.fixture(scope="session")
def body_file(tiny_body_path: Path) -> Path:
    return tiny_body_path


@pytest.fixture(scope="session")
def blazepose_folder() -> Path:
    """The landmark models, fetched once per machine. Skips where they can't be."""
    folder = cache_folder() / "tests" / "blazepose"
    if not all((folder / name).exists() for name in MODELS):
        try:
            extract(folder)
        except UserError as error:
            pytest.skip(f"the landmark models are not at hand: {error}")
    return folder


@pytest.fixture(scope="session")
def blazepose(blazepose_folder: Path) -> BlazePose:
    return BlazePose(blazepose_folder)


@pytest.fixture(scope="session")
def standing(open_body: Body) -> Figure:
    """A picture of one person in full view."""
    return draw(open_body)
