"""A small AG3D data set of painted people, and a tiny training."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.training_command import TINY, Command

from ag3d.config import Network, Training
from ag3d.core.shards import encode_png
from ag3d.model.body import label as body_label
from ag3d.model.training.trainer import Trainer, TrainerOptions


def paint(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """An upright ellipse with sphere-like normals: RGBA and normal map."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    x, y = x / 0.3, y / 0.8
    inside = x**2 + y**2 < 1
    normal = np.stack([x, -y, np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))], axis=-1)
    maps = np.full((side, side, 3), 255, np.uint8)
    maps[inside] = np.rint((normal[inside] + 1) * 127.5)
    image = np.zeros((side, side, 4), np.uint8)
    image[..., :3] = rng.integers(30, 220, 3)
    image[..., 3] = 255 * inside
    return image, maps


def random_labels(number: int, seed: int = 0) -> np.ndarray:
    g = torch.Generator().manual_seed(seed)
    orient = torch.tensor([[np.pi, 0.0, 0.0]]).repeat(number, 1)
    transl = torch.tensor([[0.0, 0.15, 0.0]]) + 0.05 * torch.randn(number, 3, generator=g)
    return body_label.pack(
        transl, orient, 0.1 * torch.randn(number, 69, generator=g), torch.randn(number, 10, generator=g)
    ).numpy()


def write_zip(path, names, labels, seed=0, side=32, as_list=False):
    rng = np.random.default_rng(seed)
    rows = [[name, [row[:25].tolist(), row[25:].tolist()]] for name, row in zip(names, labels)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            image, normal = paint(rng, side)
            archive.writestr(name, encode_png(image))
            archive.writestr(name.replace("img", "normal"), encode_png(normal))
        archive.writestr("dataset.json", json.dumps({"labels": rows if as_list else dict(rows)}))
    return path


@pytest.fixture
def shards(tmp_path):
    """Two zips with 5 and 4 people."""
    labels = random_labels(9)
    return [
        write_zip(tmp_path / "00000.zip", [f"img_{i}.png" for i in (0, 2, 4, 6, 8)], labels[0::2], seed=1),
        write_zip(tmp_path / "00001.zip", [f"img_{i}.png" for i in (1, 3, 5, 7)], labels[1::2], seed=2, as_list=True),
    ]


@pytest.fixture(scope="session")
def uint8_batch():
    """Two random pictures, normal maps and labels, as the loader yields them."""
    drawn = torch.Generator().manual_seed(0)
    pictures = [torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=drawn) for _ in range(2)]
    return (*pictures, body_label.canonical_label(2))


@pytest.fixture(scope="session")
def tiny_network():
    return Network(**TINY)


@pytest.fixture(scope="session")
def make_trainer(tiny_body, tiny_network):
    """A function that makes a trainer of a tiny network for batches of two; settings of the training as keywords."""

    def made(network: Network | None = None, micro_batch: int = 0, **settings) -> Trainer:
        chosen = Training(batch_size=2, **{"blur_fade_kimg": 0.0, **settings})
        labels, options = body_label.canonical_label(4), TrainerOptions(micro_batch=micro_batch)
        return Trainer(chosen, network or tiny_network, tiny_body, labels, options)

    return made


@pytest.fixture(scope="module")
def training_command(tmp_path_factory, tiny_body_path):
    """A function that makes the command of a tiny training in a folder of its own."""
    root = tmp_path_factory.mktemp("runs")
    labels = random_labels(9)
    data = [
        write_zip(root / "00000.zip", [f"img_{i}.png" for i in (0, 2, 4, 6, 8)], labels[0::2], seed=1),
        write_zip(root / "00001.zip", [f"img_{i}.png" for i in (1, 3, 5, 7)], labels[1::2], seed=2),
    ]

    def made(name: str, folder: Path | None = None, **settings) -> Command:
        return Command(folder or root / name, data, tiny_body_path, **settings)

    return made
