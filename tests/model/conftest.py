"""A small generator, as a network, as a checkpoint's folder, and a pose distribution for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.dressing import dress
from support.networks import SMALL

from ag3d.config import Network
from ag3d.core.files import write_json
from ag3d.model import checkpoint
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.training import optim


@pytest.fixture(scope="session")
def small_generator(tiny_body: Body) -> Generator:
    """As training begins, but with an average style and clearly different people. Shared: do not change it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Generator(Network(**SMALL, beta_init=0.02), tiny_body).eval().requires_grad_(False)
        ws = network.mapping(torch.randn(256, 8))
        network.backbone.mapping.w_avg.copy_(ws[:, 0].mean(0))
        dress(network, ws[:32])
        optim.damp_superresolution(network)
    return network


@pytest.fixture(scope="session")
def small_checkpoint(small_generator: Generator, tiny_body: Body, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ckpt") / "000001"
    checkpoint.save_weights(small_generator, folder / checkpoint.EMA)
    write_json(folder / checkpoint.DESCRIPTION, checkpoint.describe(small_generator.settings, tiny_body))
    return folder


@pytest.fixture(scope="session")
def pose_distribution() -> torch.Tensor:
    """[6,111]: people who stand with arms out, turned and bent a little."""
    source = torch.Generator().manual_seed(5)
    rows = labels.canonical_label(6, torch.randn(6, 10, generator=source))
    rows[:, 32:101] = 0.1 * torch.randn(6, 69, generator=source)
    return rows


@pytest.fixture(scope="session")
def poses_path(pose_distribution: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("poses") / "poses.npy"
    np.save(path, pose_distribution.numpy())
    return path
