"""A small network, a file laid out like AG3D's released checkpoints that holds it, and what the import makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.released_file import networks, write_released
from support.tiny_body import tiny_body_arrays

from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.legacy.import_checkpoint import import_checkpoint
from ag3d.model.networks.discriminator import Discriminators

Networks = tuple[Generator, Generator, Discriminators]


@pytest.fixture(scope="session")
def made(tiny_body: Body) -> Networks:
    """Averaged generator, generator, discriminators. Shared: do not change them."""
    return networks(tiny_body)


@pytest.fixture(scope="session")
def body_arrays() -> dict[str, np.ndarray]:
    """The tiny body, with pose corrections."""
    arrays = tiny_body_arrays()
    random = np.random.default_rng(0).normal(size=(len(arrays["v_template"]), 3, 207))
    return arrays | {"posedirs": (0.001 * random).astype(np.float32)}


@pytest.fixture(scope="session")
def released(made: Networks, body_arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole file, with a body and closures inside."""
    return write_released(tmp_path_factory.mktemp("released") / "network.pkl", made, body_arrays)


@pytest.fixture(scope="session")
def small_released(made: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the averaged generator alone, small enough to be read hundreds of times."""
    return write_released(tmp_path_factory.mktemp("released") / "small.pkl", made, parts=("G_ema",))


@pytest.fixture(scope="session")
def imported(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the import of `released` writes."""
    folder = tmp_path_factory.mktemp("imported") / "checkpoint"
    import_checkpoint(released, folder)
    return folder
