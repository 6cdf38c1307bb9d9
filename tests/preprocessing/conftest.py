"""The tiny body under the name that the stages' options use; the landmark network, and a picture of a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.figure import Figure, draw

from ag3d.model.body.body import Body
from ag3d.preprocessing.people.blazepose import BlazePose


@pytest.fixture(scope="session")
def body_file(tiny_body_path: Path) -> Path:
    return tiny_body_path


@pytest.fixture(scope="session")
def blazepose(blazepose_folder: Path) -> BlazePose:
    return BlazePose(blazepose_folder)


@pytest.fixture(scope="session")
def standing(open_body: Body) -> Figure:
    """A picture of one person in full view."""
    return draw(open_body)
