"""The stage `avatars`: every file that the workflow expects of it, and what is in them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from support import ROOT

from ag3d.core.files import read_json
from ag3d.model.avatars import stage as avatars
from ag3d.model.avatars.identities import People
from ag3d.model.avatars.motion import read_motion
from ag3d.model.generator import Generator

SETTINGS = "avatars: {number: 3, seed: 4, frames: 4, image_size: 16, fps: 5, batch: 2}"


@pytest.fixture(scope="module")
def made(small_checkpoint: Path, tiny_body_path: Path, poses_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # fmt: skip
    output = tmp_path_factory.mktemp("avatars") / "out"
    words = ["--checkpoint", small_checkpoint, "--body", tiny_body_path, "--poses", poses_path, "--output", output]
    config = tmp_path_factory.mktemp("config") / "config.yaml"
    config.write_text(SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["avatars", *map(str, words), "--config", str(config), "--device", "cpu"])
        avatars.main()
    return output


def test_all_files_of_the_rule(made: Path) -> None:
    rule = (ROOT / "workflow" / "rules" / "avatars.smk").read_text()
    outputs = rule.split("output:")[1].split("log:")[0]
    expected = set(re.findall(r'[/"](\w+\.(?:png|mp4|npz|glb|json))"', outputs))
    assert len(expected) > 10
    files = {path.name for path in made.iterdir() if path.is_file()}
    assert expected <= files
    assert not [name for name in files if name.startswith(".")]
    described = set(re.findall(r"\w+\.(?:png|mp4|npz|glb|json)", avatars.__doc__ or ""))
    assert expected <= described | {"interpolation.png"}


def test_pictures_have_their_sizes(made: Path) -> None:
    size = {path.name: cv2.imread(str(path)).shape for path in made.glob("*.png")}
    assert size["samples.png"] == (4 * 16, 3 * 16, 3)
    for name in ("canonical.png", "normals.png", "raw.png", "depth.png"):
        assert size[name] == (2 * 16, 3 * 16, 3)
    assert size["interpolation.png"] == (2 * 16, 4 * 16, 3)
    assert sorted(path.name for path in (made / "people").iterdir()) == ["000004.png", "000005.png", "000006.png"]
    samples = cv2.imread(str(made / "samples.png"))
    person = cv2.imread(str(made / "people" / "000005.png"))  # image, raw, normal, depth in a row
    assert np.array_equal(person[:, :16], samples[:16, 16:32])
    assert np.array_equal(person[:, 32:48], samples[16:32, 16:32])


@pytest.mark.parametrize(
    ("name", "shape", "fps"),
    [
        ("novel_view.mp4", (32, 48), 5),
        ("turn.mp4", (32, 48), 5),
        ("interpolation.mp4", (16, 32), 5),
        ("animation.mp4", (32, 48), 2),
    ],
)
def test_videos_play(made: Path, name: str, shape: tuple[int, int], fps: int) -> None:
    with imageio.get_reader(made / name) as reader:
        facts, frames = reader.get_meta_data(), [np.asarray(frame) for frame in reader]
    assert len(frames) == 4
    assert facts["fps"] == fps
    assert frames[0].shape == (*shape, 3)
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 0.2


def test_the_people_can_be_found_again(made: Path, small_generator: Generator, pose_distribution: torch.Tensor) -> None:  # fmt: skip
    record = read_json(made / "avatars.json")
    assert record["seeds"] == record["filmed"] == [4, 5, 6]
    assert record["settings"]["truncation"] == 0.7
    assert {name.rpartition("/")[2] for name in record["inputs"]} == {
        "generator_ema.safetensors",
        "poses.npy",
        "body.npz",
    }
    people = People(small_generator, pose_distribution, 3, 4, 0.7)
    with np.load(made / "latents.npz") as latents:
        np.testing.assert_allclose(latents["ws"], people.ws.numpy(), atol=1e-6)
        np.testing.assert_array_equal(latents["label"], people.label.numpy())
        assert latents["seed"].tolist() == [4, 5, 6]


def test_the_walk_is_a_motion_file(made: Path) -> None:
    motion = read_motion(made / "walk.npz")
    assert motion.fps == 30
    assert len(motion) == 66


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["avatars", "--help"])
    with pytest.raises(SystemExit) as caught:
        avatars.main()
    assert caught.value.code == 0
    assert "--truncation" in capsys.readouterr().out
