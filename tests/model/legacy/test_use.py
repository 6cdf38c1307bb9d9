"""What an imported checkpoint is for: generating, evaluating, fine-tuning."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ag3d.core.files import read_json, write_json
from ag3d.core.shards import encode_png
from ag3d.evaluation.metrics import stage as metrics
from ag3d.evaluation.metrics.feature_extraction import EMBEDDINGS
from ag3d.model.avatars import generate
from ag3d.model.training import stage

pytestmark = pytest.mark.filterwarnings("ignore:.*was trained with the body")


def call(monkeypatch: pytest.MonkeyPatch, main, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["ag3d", *map(str, arguments)])
    main()


@pytest.fixture(scope="module")
def data(pose_distribution: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of six flat people, in a compressed zip with folders, its labels as pairs."""
    path = tmp_path_factory.mktemp("data") / "people.zip"
    side = 32
    person = np.zeros((side, side), bool)
    person[4:-4, 10:-10] = True
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        rows = []
        for number, label in enumerate(pose_distribution.tolist()):
            image = np.full((side, side, 4), 40 * number, np.uint8)
            image[..., 3] = 255 * person
            normal = np.where(person[..., None], np.uint8([127, 127, 255]), np.uint8(255))
            archive.writestr(f"images/img_{number}.png", encode_png(image))
            archive.writestr(f"images/normal_{number}.png", encode_png(normal))
            rows.append([f"images/img_{number}.png", [label[:25], label[25:]]])
        archive.writestr("dataset.json", json.dumps({"labels": rows}))
    return path


def test_generate(monkeypatch, tmp_path, imported, tiny_body_path, poses_path):
    picture = tmp_path / "people.png"
    common = ["--checkpoint", imported, "--body", tiny_body_path, "--poses", poses_path, "--output", picture]
    call(monkeypatch, generate.main, "samples", *common, "--number", 2, "--side", 32, "--device", "cpu")
    pixels = cv2.imread(str(picture))
    assert pixels.shape[0] > 32
    assert pixels.std() > 5


class Colours:
    """In place of an embedded network: mean and deviation of the colours."""

    sha256 = "0"

    def __init__(self, embedding, folder) -> None:
        self.name = embedding.name

    def __call__(self, images) -> np.ndarray:
        return np.array([[*image.mean((0, 1)), *image.std((0, 1))] for image in np.asarray(images, np.float64)])


def test_evaluate(monkeypatch, tmp_path, imported, tiny_body_path, poses_path, data):
    monkeypatch.setattr("ag3d.evaluation.metrics.feature_extraction.EmbeddedFeatures", Colours)
    arguments = ["--checkpoint", imported, "--body", tiny_body_path, "--poses", poses_path, "--data", data]
    arguments += ["--models", tmp_path, "--cache", tmp_path, "--samples", 8, "--bootstrap", 2, "--device", "cpu"]
    arguments += ["--metrics", "[frechet]"]
    call(monkeypatch, metrics.main, *arguments, "--output", tmp_path / "metrics.json")
    found = read_json(tmp_path / "metrics.json")
    assert found["kimg"] == 2500
    assert found["run"] == imported.name
    assert len(found["metrics"]) == 3 * len(EMBEDDINGS)
    assert all(np.isfinite(each["value"]) for each in found["metrics"].values())


def test_fine_tune(monkeypatch, caplog, tmp_path, imported, made, tiny_body_path, data):
    network = read_json(imported / "checkpoint.json")["network"]
    write_json(tmp_path / "config.json", {"network": network, "machine": {"device": "cpu", "workers": 0}})
    output = tmp_path / "run" / "ckpt" / "000000"
    settings = [
        "--resume-from",
        imported,
        "--batch",
        2,
        "--ema-rampup",
        0,
        "--blur-fade-kimg",
        0,
        "--learning-rate-g",
        1e-6,
    ]
    call(
        monkeypatch,
        stage.main,
        *["--data", data, "--body", tiny_body_path, "--config", tmp_path / "config.json"],
        *["--state", tmp_path / "state", "--output", output],
        *[*settings, "--kimg", 0.004],
    )
    assert "start anew" not in caplog.text
    tuned = load_file(output / "generator.safetensors")
    start = made[1].state_dict()
    trained = [name for name in start if name.endswith("weight") and not torch.equal(start[name], tuned[name])]
    assert len(trained) > 20  # it moved, and not far from where it began
    assert max(float((start[name] - tuned[name]).abs().max()) for name in trained) < 1e-3
    assert read_json(output / "checkpoint.json")["network"]["compatibility"] == "reference"
    judge, before = load_file(output / "discriminator.safetensors"), made[2].state_dict()
    assert max(float((before[name] - judge[name]).abs().max()) for name in before) < 0.05
