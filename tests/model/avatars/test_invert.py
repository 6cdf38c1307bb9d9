"""The person of a photograph: codes that show them, from whichever file the photograph comes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.core.shards import encode_png, save_png, write_shard
from ag3d.model.avatars import generate, invert
from ag3d.model.avatars.identities import People
from ag3d.model.avatars.latents import read_latents
from ag3d.model.generator import Generator
from ag3d.model.imaging import to_uint8

SEED = 3
STEPS = 30


@pytest.fixture(scope="module")
def photograph(small_generator: Generator, pose_distribution: torch.Tensor) -> dict[str, np.ndarray]:
    """Somebody whom the network can show: image, normals uint8 [32,32,3], mask [32,32], label [111]."""
    people = People(small_generator, pose_distribution, 1, SEED, 1.0)
    out = next(people.render(people.label, torch.tensor([0])))
    image, normal = to_uint8(out["image"])[0], to_uint8(out["image_normal"])[0]
    mask = np.clip(cv2.resize(out["opacity"][0, 0].numpy(), (32, 32), interpolation=cv2.INTER_LINEAR), 0, 1)
    normal = cv2.resize(normal, (32, 32), interpolation=cv2.INTER_LINEAR)
    normal[mask < 0.3] = 255
    return {
        "image": image,
        "normal": normal,
        "mask": mask,
        "label": people.label[0].numpy(),
        "ws": people.ws[0].numpy(),
    }


@pytest.fixture(scope="module")
def target(small_generator: Generator, photograph: dict[str, np.ndarray]) -> invert.Target:
    """Normals and mask as the network sees them; resizing them to 16 pixels would blur everything."""
    parts = (photograph[key] for key in ("image", "normal", "mask", "label"))
    resized = invert.make_target(*parts, small_generator)
    with torch.no_grad():
        out = small_generator.synthesis(torch.from_numpy(photograph["ws"])[None], resized.label)
    for found, expected in ((resized.mask, out["opacity"]), (resized.normal, out["image_normal"])):
        pair = torch.stack([found.flatten(), expected.flatten()])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.8  # upright, and not mirrored
    return invert.Target(resized.image, out["image_normal"], out["opacity"], resized.label)


@pytest.fixture(scope="module")
def data(photograph: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "00000.zip"
    with write_shard(path, {}) as shard:
        for name in ("ada", "bob"):
            shard.add(f"img_{name}.png", encode_png(photograph["image"]))
            shard.add(f"normal_{name}.png", encode_png(photograph["normal"]))
        row = photograph["label"].tolist()
        shard.add_json("dataset.json", {"labels": {f"img_{name}.png": [row[:25], row[25:]] for name in ("ada", "bob")}})
    return path


@pytest.fixture
def command(small_checkpoint: Path, tiny_body_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(output: Path, *words: object) -> Path:
        given = ["generate", "invert", "--checkpoint", small_checkpoint, "--body", tiny_body_path, "--output", output]
        monkeypatch.setattr(sys, "argv", [str(word) for word in (*given, "--side", 32, "--starts", 6, *words)])
        generate.main()
        return output

    return run


def test_the_person_is_found(small_generator: Generator, target: invert.Target) -> None:
    """Nearer to the photograph than the best of the random people, in colour, normals and outline; and the same again."""
    ws, history = invert.invert(small_generator, target, STEPS, starts=6, rate=0.1)
    assert ws.shape == (1, small_generator.num_ws, 8)
    assert not ws.requires_grad
    assert len(history) == STEPS
    assert not torch.equal(ws[0, 0], ws[0, -1])  # a code for each layer
    with torch.no_grad():
        out = small_generator.synthesis(ws, target.label)
        average = small_generator.backbone.mapping.w_avg.expand(1, small_generator.num_ws, -1)
        usual = small_generator.synthesis(average, target.label)
    found, before = invert.image_losses(out, target), invert.image_losses(usual, target)
    assert float(found["image"]) < 0.5 * float(before["image"])
    assert float(found["image"]) < 0.8 * history[0]["image"]
    assert float(found["normal"]) < 0.03
    assert float(found["mask"]) < 0.005
    again, _ = invert.invert(small_generator, target, STEPS, starts=6, rate=0.1)
    assert torch.equal(again, ws)


def losses_of(generator: Generator, ws: torch.Tensor, target: invert.Target) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        out = generator.synthesis(ws, target.label)
    return invert.image_losses(out | {"image": out["image"].clamp(-1, 1)}, target)  # as a photograph has it


def test_each_loss_counts(small_generator: Generator, photograph: dict[str, np.ndarray], target: invert.Target) -> None:
    people = torch.from_numpy(photograph["ws"])[None]
    own, other = (losses_of(small_generator, ws, target) for ws in (people, people.flip(-1)))
    assert float(own["image"]) < 0.02  # what is left comes of rounding and resizing
    assert float(own["mask"]) < 1e-4
    assert abs(float(own["normal"])) < 1e-4
    for kind in ("image", "normal", "mask"):
        assert float(own[kind]) < 0.5 * float(other[kind]), kind
    bare = invert.make_target(photograph["image"], None, photograph["mask"], photograph["label"], small_generator)
    with torch.no_grad():
        assert float(invert.image_losses(small_generator.synthesis(people, target.label), bare)["normal"]) == 0


@pytest.mark.parametrize("kind", ["normal", "mask"])
def test_normals_and_outlines_lead_alone(small_generator: Generator, target: invert.Target, kind: str) -> None:
    weights = invert.Weights(**{"image": 0.0, "normal": 0.0, "mask": 0.0, "usual": 0.0, kind: 1.0})
    _, history = invert.invert(small_generator, target, 20, starts=0, rate=0.05, weights=weights)
    assert min(row[kind] for row in history) < 0.8 * history[0][kind]


def test_staying_near_the_average(small_generator: Generator, target: invert.Target) -> None:
    mean = small_generator.backbone.mapping.w_avg
    far, near = (
        (invert.invert(small_generator, target, 12, starts=0, rate=0.1, weights=invert.Weights(usual=weight))[0] - mean)
        .square()
        .mean()
        for weight in (0.0, 10.0)
    )
    assert near < 0.5 * far


def test_a_person_of_a_data_set(command, data: Path, small_generator: Generator, tmp_path: Path) -> None:
    first = command(tmp_path / "ada.npz", "--data", data, "--person", "ada", "--steps", 4)
    again = command(tmp_path / "again.npz", "--data", data.parent, "--person", "bob", "--steps", 4)
    assert first.read_bytes() == again.read_bytes()
    found = read_latents(first, small_generator.num_ws, 8)
    assert found.ws.shape == (1, small_generator.num_ws, 8)
    assert found.label is not None
    assert cv2.imread(str(tmp_path / "ada.png")).shape == (64, 5 * 32, 3)


def test_the_codes_serve_other_commands(command, data: Path, photograph, small_generator: Generator, small_checkpoint: Path, tiny_body_path: Path, tmp_path: Path, monkeypatch) -> None:  # fmt: skip
    codes = command(tmp_path / "ada.npz", "--data", data, "--person", "ada", "--steps", STEPS, "--rate", 0.1)
    words = ["samples", "--checkpoint", small_checkpoint, "--body", tiny_body_path, "--ws", codes, "--side", 32]
    monkeypatch.setattr(sys, "argv", ["generate", *map(str, words), "--output", str(tmp_path / "seen.png")])
    generate.main()
    image = cv2.imread(str(tmp_path / "seen.png"))[:32, :, ::-1]
    average = small_generator.backbone.mapping.w_avg.expand(1, small_generator.num_ws, -1)
    with torch.no_grad():
        usual = small_generator.synthesis(average, torch.from_numpy(photograph["label"])[None])
    found, before = (
        np.abs(each.astype(int) - photograph["image"]).mean() for each in (image, to_uint8(usual["image"])[0])
    )
    assert found < 0.5 * before


def test_a_crop_of_ones_own(command, photograph: dict[str, np.ndarray], tmp_path: Path) -> None:
    alpha = (photograph["mask"] * 255).astype(np.uint8)
    save_png(tmp_path / "crop.png", np.dstack([photograph["image"], alpha]))
    save_png(tmp_path / "plain.png", photograph["image"])
    save_png(tmp_path / "normal.png", photograph["normal"])
    np.save(tmp_path / "label.npy", photograph["label"])
    (tmp_path / "label.json").write_text(json.dumps(photograph["label"].tolist()))
    own = ["--steps", 2, "--label", tmp_path / "label.npy", "--image"]
    command(tmp_path / "a.npz", *own, tmp_path / "crop.png")
    command(tmp_path / "b.npz", *own, tmp_path / "crop.png", "--label", tmp_path / "label.json")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    command(tmp_path / "c.npz", *own, tmp_path / "plain.png", "--normal", tmp_path / "normal.png")
    with pytest.raises(UserError, match="plain.png has no alpha channel"):
        command(tmp_path / "d.npz", *own, tmp_path / "plain.png")


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("a.png", ["--data", "{data}", "--person", "ada"], r"a.png: the name of a file of 'invert' ends in .npz"),
        ("a.npz", [], "give either --data and --person, or --image and --label"),
        ("a.npz", ["--image", "a.png"], "give either --data"),
        ("a.npz", ["--data", "{data}"], "--person is missing: .*00000.zip has ada, bob"),
        ("a.npz", ["--data", "{data}", "--person", "eve"], "--person eve: .*00000.zip has ada, bob"),
        ("a.npz", ["--data", "none.zip", "--person", "ada"], "none.zip does not exist"),
        ("a.npz", ["--image", "none.png", "--label", "none.npy"], "none.png does not exist"),
        ("a.npz", ["--data", "{data}", "--person", "ada", "--steps", 0], "--steps must be at least 1"),
        ("a.npz", ["--data", "{data}", "--person", "ada", "--checkpoint", "no"], "no is not a checkpoint"),
    ],
)
def test_wrong_options_are_named(command, data: Path, tmp_path: Path, name: str, words: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        command(tmp_path / name, *(str(word).replace("{data}", str(data)) for word in words))
    assert not list(tmp_path.iterdir())


def test_labels_of_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none.npy does not exist"):
        invert.read_label(tmp_path / "none.npy")
    np.save(tmp_path / "short.npy", np.zeros(110))
    with pytest.raises(UserError, match="short.npy has 110 numbers; 111"):
        invert.read_label(tmp_path / "short.npy")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(UserError, match="text.json is not valid JSON"):
        invert.read_label(tmp_path / "text.json")


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words, expected in ((["--help"], ["invert", "grid", ".gif"]), (["invert", "--help"], ["--person", "W+"])):
        monkeypatch.setattr(sys, "argv", ["ag3d generate", *words])
        with pytest.raises(SystemExit) as caught:
            generate.main()
        assert caught.value.code == 0
        text = capsys.readouterr().out
        assert all(word in text for word in expected)
