"""The command `ag3d generate`: what it makes, that it repeats itself, and what it refuses."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import imageio.v2 as imageio
import numpy as np
import pytest
import torch

from ag3d.errors import UserError
from ag3d.model.generator import Generator
from ag3d.model.inference import generate
from ag3d.model.inference.motion import motion_labels
from ag3d.model.inference.people import People, canonical
from ag3d.model.inference.walking import built_in, walking


@pytest.fixture
def command(small_checkpoint: Path, tiny_body_path: Path, poses_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command; options given replace those that make it work."""

    def run(what: str, output: Path, **options: object) -> Path:
        given = {"checkpoint": small_checkpoint, "body": tiny_body_path, "poses": poses_path, "number": 2, "side": 24}
        given |= {"frames": 3, "output": output, **options}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not True]
        words += [f"--{name}" for name, value in given.items() if value is True]
        monkeypatch.setattr(sys, "argv", ["generate", what, *words])
        generate.main()
        return output

    return run


@pytest.fixture(scope="module")
def people(small_generator: Generator, pose_distribution: torch.Tensor) -> People:
    return People(small_generator, pose_distribution, 3, 0, 0.7)


def frames_of(path: Path) -> tuple[list[np.ndarray], dict]:
    with imageio.get_reader(path) as reader:
        return [np.asarray(frame) for frame in reader], reader.get_meta_data()


# ---- pictures


@pytest.mark.parametrize("what", ["samples", "canonical"])
def test_the_same_seed_gives_the_same_bytes(command, tmp_path: Path, what: str) -> None:
    first = command(what, tmp_path / "first.png", batch=1, number=3).read_bytes()
    assert command(what, tmp_path / "again.png", batch=1, number=3).read_bytes() == first
    assert command(what, tmp_path / "other.png", batch=1, number=3, seed=5).read_bytes() != first
    sheet = cv2.imread(str(tmp_path / "first.png"))
    assert sheet.shape == (4 * 24, 3 * 24, 3)
    batched = cv2.imread(str(command(what, tmp_path / "batched.png", batch=3, number=3)))
    assert int(np.abs(batched.astype(int) - sheet).max()) <= 1  # a rounding, at most


def test_sheets_show_the_seeds_in_order(command, tmp_path: Path) -> None:
    pair = cv2.imread(str(command("samples", tmp_path / "pair.png", batch=1)))
    second = cv2.imread(str(command("samples", tmp_path / "second.png", batch=1, seed=1, number=1)))
    apart = np.abs(pair.astype(int).reshape(len(pair), 2, 24, 3) - second[:, None]).max(axis=(0, 2, 3))
    assert apart[1] <= 1  # a rounding, at most
    assert apart[0] > 20


def test_truncation_zero_is_one_person(command, tmp_path: Path) -> None:
    sheet = cv2.imread(str(command("canonical", tmp_path / "mean.png", truncation=0, batch=1))).astype(int)
    varied = cv2.imread(str(command("canonical", tmp_path / "varied.png", truncation=1, batch=1))).astype(int)
    raw = slice(24, 48)  # colours without the shapes that the betas give
    spread = [float(np.abs(image[raw, :24] - image[raw, 24:]).mean()) for image in (sheet, varied)]
    assert spread[0] < 0.3 * spread[1]


# ---- videos


def test_novel_views(command, people: People, tmp_path: Path) -> None:
    frames, facts = frames_of(command("novel-view", tmp_path / "turn.mp4", frames=4, fps=7))
    assert (len(frames), facts["fps"], frames[0].shape) == (4, 7, (48, 48, 3))
    which = torch.tensor([2, 0])
    views = generate.novel_view(people, which, np.array([0.0, math.pi]), 24)
    posed = generate.sample_pictures(people, people.label, 24)
    for place, person in enumerate(which.tolist()):
        columns = slice(24 * place, 24 * place + 24)
        assert np.abs(views[0][:24, columns].astype(int) - posed["image"][person]).max() <= 1
        assert np.abs(views[0][24:, columns].astype(int) - posed["normal"][person]).max() <= 1
        assert np.abs(views[1][24:, columns].astype(int) - posed["normal"][person]).mean() > 3


def test_a_sweep_and_a_full_turn(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    novel_view = generate.novel_view
    monkeypatch.setattr(generate, "novel_view", lambda people, which, angles, side: asked.append(np.degrees(angles)) or novel_view(people, which, angles[:1], side))  # fmt: skip
    command("novel-view", tmp_path / "turn.mp4", frames=8, number=1)
    command("novel-view", tmp_path / "sweep.mp4", frames=8, number=1, degrees=40)
    np.testing.assert_allclose(asked[0], 45 * np.arange(8))
    assert (asked[1].min(), asked[1].max()) == pytest.approx((-20, 20))


def test_interpolation_passes_the_people(people: People) -> None:
    strip = generate.interpolation(people, 6, 24)
    posed = generate.sample_pictures(people, people.label, 24)
    for person in range(3):
        frame = strip[2 * person].astype(int)
        assert np.abs(frame[:24] - posed["image"][person]).max() <= 1
        assert np.abs(frame[24:] - posed["normal"][person]).max() <= 1
    steps = [np.abs(strip[k].astype(int) - strip[k - 1]).mean() for k in range(6)]  # the first closes the circle
    assert min(steps) > 0.5
    for k in (1, 3, 5):  # half-way lies between
        whole = np.abs(strip[(k + 1) % 6].astype(int) - strip[k - 1]).mean()
        assert max(steps[k], steps[(k + 1) % 6]) < whole


def test_interpolation_file_of_odd_size(command, tmp_path: Path) -> None:
    frames, facts = frames_of(command("interpolation", tmp_path / "strip.mp4", side=33, fps=5))
    assert (len(frames), facts["fps"], frames[0].shape) == (3, 5, (66, 34, 3))


def test_animation_of_a_motion_file(command, people: People, tmp_path: Path) -> None:
    np.savez(tmp_path / "walk.npz", **walking(cycles=1, fps=30))
    frames, facts = frames_of(command("animation", tmp_path / "walk.mp4", motion=tmp_path / "walk.npz", fps=6))
    assert (len(frames), facts["fps"], frames[0].shape) == (round(1.1 * 6), 6, (48, 48, 3))
    again, _ = frames_of(command("animation", tmp_path / "stay.mp4", motion="wave", fps=2, stay=True))
    assert len(again) == 4


def test_animation_shows_the_poses(people: People) -> None:
    motion = built_in("walk").resampled(2)
    which = torch.tensor([1, 2])
    frames = generate.animation(people, which, motion, 24)
    assert len(frames) == len(motion)
    label = motion_labels(motion, people.betas[2])[1:2]
    normal = generate.to_uint8(next(people.render(label, which[1:]))["image_normal"])[0]
    expected = generate.enlarge(normal, 24).astype(int)
    assert np.abs(frames[1][24:, 24:] - expected).max() <= 1
    assert np.abs(frames[0][24:, 24:] - expected).mean() > 1


def test_canonical_sheet_is_of_the_zero_pose(command, people: People, tmp_path: Path) -> None:
    sheet = cv2.imread(str(command("canonical", tmp_path / "rest.png", number=3)))[..., ::-1]
    expected = generate.sample_pictures(people, canonical(people), 24)
    for row, kind in enumerate(("image", "raw", "normal", "depth")):
        tiles = sheet[24 * row : 24 * row + 24].reshape(24, 3, 24, 3).swapaxes(0, 1)
        assert np.abs(tiles.astype(int) - expected[kind]).max() <= 1


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "nowhere"}, "nowhere is not a checkpoint: checkpoint.json is missing"),
        ({"body": "nobody.npz"}, "nobody.npz"),
        ({"poses": "none.npy"}, "none.npy does not exist"),
        ({"seed": "abc"}, "'seed' must be a whole number, not 'abc'"),
        ({"seed": "1,2"}, "'seed' must be a whole number"),
        ({"seed": "["}, "--seed: '\\[' is not valid YAML"),
        ({"seed": -1}, "'seed' is -1; it must be at least 0"),
        ({"number": 0}, "'number' is 0"),
        ({"truncation": 1.5}, "'truncation' is 1.5"),
        ({"settings": '{"sed": 3}'}, "unknown key 'sed'; did you mean 'seed'"),
        ({"device": "abacus"}, "--device is 'abacus'"),
    ],
)
def test_wrong_options_are_named(command, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        command("samples", tmp_path / "out.png", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("what", "name"),
    [("samples", "out.mp4"), ("canonical", "out"), ("animation", "out.png"), ("novel-view", "out.gif")],
)
def test_the_suffix_must_fit(command, tmp_path: Path, what: str, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{what}.*(png|mp4)"):
        command(what, tmp_path / name)


def test_motion_that_is_not_there(command, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="jump.npz does not exist"):
        command("animation", tmp_path / "out.mp4", motion="jump.npz")


def test_a_checkpoint_without_weights(command, small_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "checkpoint.json").write_bytes((small_checkpoint / "checkpoint.json").read_bytes())
    with pytest.raises(UserError, match="bare/generator_ema.safetensors does not exist"):
        command("samples", tmp_path / "out.png", checkpoint=folder)


def test_unknown_product(command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command("hologram", tmp_path / "out.png")
    assert caught.value.code == 2
    assert "hologram" in capsys.readouterr().err
