"""The command `ag3d generate`: what it makes, that it repeats itself, and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import cv2
import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from ag3d.core.errors import UserError
from ag3d.model.avatars import generate
from ag3d.model.avatars.identities import People, canonical_labels, with_betas
from ag3d.model.avatars.motion import motion_labels
from ag3d.model.avatars.motion_sources import built_in, walk_motion
from ag3d.model.avatars.render_sheets import RenderStyle, arrange
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.model.generator import Generator
from ag3d.model.imaging import resize_square, to_uint8


@pytest.fixture
def command(small_checkpoint: Path, tiny_body_path: Path, poses_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run the command; options given replace those that make it work."""

    def run(what: str, output: Path, **options: object) -> Path:
        given = {
            "checkpoint": small_checkpoint,
            "body": tiny_body_path,
            "poses": poses_path,
            "number": 2,
            "image_size": 24,
        }
        given |= {"frames": 3, "output": output, **options}
        words = [
            f"--{name.replace('_', '-')}={value}"
            for name, value in given.items()
            if value is not True and value is not None
        ]
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


def test_kinds_are_chosen(command, tmp_path: Path) -> None:
    everything = cv2.imread(str(command("samples", tmp_path / "all.png", batch=1)))
    some = cv2.imread(str(command("samples", tmp_path / "some.png", batch=1, show="depth,image,mesh", voxels=40)))
    assert np.array_equal(some[:24], everything[72:])
    assert np.array_equal(some[24:48], everything[:24])
    command("samples", tmp_path / "mesh.npz", batch=1, show="depth,mesh", side=16)
    with np.load(tmp_path / "mesh.npz") as found:
        covered, seen = (found["mesh"] < 250).all(-1), found["opacity"] > 0.5
    assert 0.05 < covered.mean() < 0.5
    assert (covered & seen).sum() > 0.7 * (covered | seen).sum()  # the same people as the rendering shows


def test_people_by_name(command, people: People, tmp_path: Path) -> None:
    whole = cv2.imread(str(command("samples", tmp_path / "whole.png", number=3, batch=1)))
    chosen = cv2.imread(str(command("samples", tmp_path / "chosen.png", seeds="2,0-1", batch=1)))
    order = [whole[:, 24 * person : 24 * person + 24] for person in (2, 0, 1)]
    assert np.array_equal(chosen, np.concatenate(order, axis=1))
    below = cv2.imread(str(command("samples", tmp_path / "below.png", seeds="2,0-1", columns=2, batch=1)))
    assert np.array_equal(below[:96], chosen[:, :48])
    assert np.array_equal(below[96:, :24], chosen[:, 48:])
    assert (below[96:, 24:] == 255).all()


def test_numbers(command, people: People, tmp_path: Path) -> None:
    with np.load(command("samples", tmp_path / "people.npz", number=3, batch=3)) as found:
        out = next(people.render(people.label, torch.arange(3)))
        assert found["seed"].tolist() == [0, 1, 2]
        np.testing.assert_allclose(found["ws"], people.ws, atol=1e-6)
        np.testing.assert_array_equal(found["label"], people.label)
        assert np.abs(found["image"].astype(int) - to_uint8(out["image"])).max() <= 1
        assert np.abs(found["raw"].astype(int) - to_uint8(out["image_raw"])).max() <= 1
        np.testing.assert_allclose(found["normal"], out["image_normal"].permute(0, 2, 3, 1), atol=1e-4)
        np.testing.assert_allclose(found["depth"], out["image_depth"][:, 0], atol=1e-3)
        np.testing.assert_allclose(found["opacity"], out["opacity"][:, 0], atol=1e-4)


def test_style_codes_come_back(command, tmp_path: Path) -> None:
    first = command("samples", tmp_path / "first.png", seeds="4,9", batch=1, save_ws=tmp_path / "ws.npz").read_bytes()
    again = command("samples", tmp_path / "again.png", ws=tmp_path / "ws.npz", batch=1, poses=None).read_bytes()
    drawn = command("samples", tmp_path / "drawn.png", ws=tmp_path / "ws.npz", batch=1).read_bytes()
    assert first == again == drawn
    one = cv2.imread(str(command("samples", tmp_path / "one.png", ws=tmp_path / "ws.npz", seeds="9", batch=1)))
    assert np.array_equal(one, cv2.imread(str(tmp_path / "first.png"))[:, 24:])
    with np.load(tmp_path / "ws.npz") as kept:
        np.save(tmp_path / "bare.npy", kept["ws"][:, 0])
    with pytest.raises(UserError, match="give --poses"):
        command("samples", tmp_path / "none.png", ws=tmp_path / "bare.npy", poses=None)
    command("samples", tmp_path / "bare.png", ws=tmp_path / "bare.npy")


def test_grid(command, people: People, tmp_path: Path) -> None:
    sheet = cv2.imread(str(command("grid", tmp_path / "grid.png", number=3)))[..., ::-1].astype(int)
    assert sheet.shape == (72, 72, 3)
    posed = generate.sample_pictures(people, people.label, 24)["image"]
    for person in range(3):  # everybody in their own pose along the diagonal
        tile = sheet[24 * person : 24 * person + 24, 24 * person : 24 * person + 24]
        assert np.abs(tile - posed[person]).max() <= 1
    label = with_betas(people.label[2:], people.label[1:2])  # the second row, the third column
    tile = to_uint8(next(people.render(label, torch.tensor([1])))["image"])[0]
    assert np.abs(sheet[24:48, 48:] - resize_square(tile, 24)).max() <= 1


# ---- videos

LOOK = RenderStyle(side=24)


def pictures(shots) -> list[np.ndarray]:
    return [arrange(shot.pictures(LOOK), 8) for shot in shots]


@pytest.mark.parametrize("by", ["camera", "body"])
def test_novel_views(command, people: People, tmp_path: Path, by: str) -> None:
    frames, facts = frames_of(command("novel-view", tmp_path / "turn.mp4", frames=4, fps=7, by=by))
    assert (len(frames), facts["fps"], frames[0].shape) == (4, 7, (48, 48, 3))
    which = torch.tensor([2, 0])
    views = pictures(generate.novel_view(people, which, np.array([0.0, math.pi]), LOOK, by))
    posed = generate.sample_pictures(people, people.label, 24)
    for place, person in enumerate(which.tolist()):
        columns = slice(24 * place, 24 * place + 24)
        assert np.abs(views[0][:24, columns].astype(int) - posed["image"][person]).max() <= 1
        assert np.abs(views[0][24:, columns].astype(int) - posed["normal"][person]).max() <= 1
        assert np.abs(views[1][24:, columns].astype(int) - posed["normal"][person]).mean() > 3


def test_camera_and_body_show_the_same(people: People) -> None:
    """Two ways to the same view: what is seen is alike, the labels are not."""
    angle, which = np.array([math.radians(20)]), torch.tensor([0, 1])
    (camera,), (body,) = (list(generate.novel_view(people, which, angle, LOOK, by)) for by in ("camera", "body"))
    torch.testing.assert_close(camera.label[:, 25:], people.label[:2, 25:])
    torch.testing.assert_close(body.label[:, :25], people.label[:2, :25])
    for key in ("image_normal", "opacity"):
        straight = next(people.render(people.label[:2], which))[key]
        between = (camera.out[key] - body.out[key]).abs().mean()
        assert between < 0.3 * (camera.out[key] - straight).abs().mean(), key


def test_a_sweep_and_a_full_turn() -> None:
    np.testing.assert_allclose(np.degrees(generate.steps_round(8, 360)), 45 * np.arange(8))
    sweep = np.degrees(generate.steps_round(8, 40))
    assert (sweep.min(), sweep.max(), sweep[0]) == pytest.approx((-20, 20, 0))


def test_interpolation_passes_the_people(people: People) -> None:
    strip = pictures(generate.interpolation(people, 6, LOOK))
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


def assert_turns(first: torch.Tensor, second: torch.Tensor) -> None:
    first, second = (axis_angle_to_matrix(label[:, 29:101].unflatten(1, (24, 3))) for label in (first, second))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_interpolation_of_one_thing(people: People) -> None:
    def made(between: str, frames: int = 6, **more) -> tuple[torch.Tensor, torch.Tensor]:
        shots = list(generate.interpolation(people, frames, LOOK, between, **more))
        return torch.cat([shot.label for shot in shots]), torch.cat([shot.ws for shot in shots])

    pose, build = slice(25, 101), slice(101, 111)
    label, ws = made("identity")
    torch.testing.assert_close(label[:, pose], people.label[:1, pose].expand(6, -1))
    torch.testing.assert_close(label[::2, build], people.label[:, build])
    torch.testing.assert_close(ws[::2], people.ws)
    torch.testing.assert_close(ws[1], (people.ws[0] + people.ws[1]) / 2)
    label, ws = made("pose")
    torch.testing.assert_close(ws, people.ws[:1].expand_as(ws))
    torch.testing.assert_close(label[:, build], people.label[:1, build].expand(6, -1))
    assert_turns(label[::2], people.label)
    label, ws = made("both", 5, closed=False)
    torch.testing.assert_close(ws[::2], people.ws)
    assert_turns(label[::2], people.label)
    assert len(made("both", 2, closed=False)[0]) == 2


def test_interpolation_file_of_odd_size(command, tmp_path: Path) -> None:
    frames, facts = frames_of(command("interpolation", tmp_path / "strip.mp4", side=33, fps=5))
    assert (len(frames), facts["fps"], frames[0].shape) == (3, 5, (66, 34, 3))


def test_animation_of_a_motion_file(command, people: People, tmp_path: Path) -> None:
    np.savez(tmp_path / "walk.npz", **walk_motion(cycles=1, fps=30))
    frames, facts = frames_of(command("animation", tmp_path / "walk.mp4", motion=tmp_path / "walk.npz", fps=6))
    assert (len(frames), facts["fps"], frames[0].shape) == (round(1.1 * 6), 6, (48, 48, 3))
    again, _ = frames_of(command("animation", tmp_path / "stay.mp4", motion="wave", fps=2, stay=True))
    assert len(again) == 4


def test_animation_shows_the_poses(people: People) -> None:
    motion = built_in("walk").resampled(2)
    which = torch.tensor([1, 2])
    frames = pictures(generate.animation(people, which, motion, LOOK))
    assert len(frames) == len(motion)
    label = motion_labels(motion, people.betas[2])[1:2]
    normal = to_uint8(next(people.render(label, which[1:]))["image_normal"])[0]
    expected = resize_square(normal, 24).astype(int)
    assert np.abs(frames[1][24:, 24:] - expected).max() <= 1
    assert np.abs(frames[0][24:, 24:] - expected).mean() > 1


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".npz", ".png"])
@pytest.mark.parametrize("what", ["novel-view", "interpolation", "animation"])
def test_films_of_every_kind_repeat(command, tmp_path: Path, what: str, suffix: str) -> None:
    more = {"motion": "wave", "fps": 2} if what == "animation" else {"frames": 4}
    first = command(what, tmp_path / f"first{suffix}", **more)
    assert command(what, tmp_path / f"again{suffix}", **more).read_bytes() == first.read_bytes()
    people = 1 if what == "interpolation" else 2
    if suffix == ".gif":
        with Image.open(first) as gif:
            assert (gif.n_frames, gif.size) == (4, (24 * people, 48))
            assert gif.info["loop"] == 0
    elif suffix == ".png":
        assert cv2.imread(str(first)).shape == (people * 2 * 24, 4 * 24, 3)
    elif suffix == ".npz":
        with np.load(first) as found:
            assert found["image"].shape == (4, people, 32, 32, 3)
            assert found["normal"].shape == (4, people, 16, 16, 3)
            assert found["label"].shape == (4, people, 111)
            assert "depth" not in found
            assert found["fps"] == more.get("fps", 12)


def test_canonical_sheet_is_of_the_zero_pose(command, people: People, tmp_path: Path) -> None:
    sheet = cv2.imread(str(command("canonical", tmp_path / "rest.png", number=3)))[..., ::-1]
    expected = generate.sample_pictures(people, canonical_labels(people), 24)
    for row, kind in enumerate(("image", "raw", "normal", "depth")):
        tiles = sheet[24 * row : 24 * row + 24].reshape(24, 3, 24, 3).swapaxes(0, 1)
        assert np.abs(tiles.astype(int) - expected[kind]).max() <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["people.png", "people.npz", "walk.mp4", "person.glb"])
def test_a_gpu_repeats_itself(small_checkpoint: Path, tiny_body_path: Path, poses_path: Path, tmp_path: Path, name: str) -> None:  # fmt: skip
    what = {"walk.mp4": "generate animation", "person.glb": "export avatar"}.get(name, "generate samples")
    given = ["--checkpoint", small_checkpoint, "--body", tiny_body_path, "--poses", poses_path, "--device", "cuda"]
    given += ["--colors", "images", "--resolution", 64] if name == "person.glb" else ["--number", 3]
    for folder in ("first", "again"):
        words = [*what.split(), *given, "--output", tmp_path / folder / name]
        subprocess.run([sys.executable, "-m", "ag3d", *map(str, words)], check=True)
    assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoint": "nowhere"}, "nowhere is not a checkpoint: checkpoint.json is missing"),
        ({"body": "nobody.npz"}, "nobody.npz"),
        ({"poses": "none.npy"}, "none.npy does not exist"),
        ({"seed": "abc"}, "'seed' must be a whole number, not 'abc'"),
        ({"seed": "1,2"}, "'seed' must be a whole number"),
        ({"seed": "["}, "--seed is not valid YAML"),
        ({"seed": -1}, "'seed' is -1; it must be at least 0"),
        ({"number": 0}, "'number' is 0"),
        ({"truncation": 1.5}, "'truncation' is 1.5"),
        ({"device": "abacus"}, "--device is 'abacus'"),
        ({"seeds": "3-1"}, "--seeds 3-1: expected numbers and ranges"),
        ({"seeds": "1,0-2"}, "every person once"),
        ({"seeds": "0-99999999999999999999"}, "at most 10,000 people"),
        ({"show": "image,face"}, "--show image,face: give one or more of image, raw, normal, depth, mesh"),
        ({"columns": 0}, "--columns must be at least 1"),
        ({"poses": None}, "--poses is missing"),
        ({"ws": "none.npz"}, "none.npz does not exist"),
    ],
)
def test_wrong_options_are_named(command, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        command("samples", tmp_path / "out.png", **options)
    assert not list(tmp_path.iterdir())


def test_a_wrong_configuration_is_named(command, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("avatars: {sed: 3}")
    with pytest.raises(UserError, match=r"unknown key 'avatars\.sed'; did you mean 'avatars\.seed'"):
        command("samples", tmp_path / "out.png", config=tmp_path / "wrong.yaml")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    ("what", "name"),
    [("samples", "out.mp4"), ("canonical", "out"), ("animation", "out.avi"), ("novel-view", "out.jpg")],
)
def test_the_suffix_must_fit(command, tmp_path: Path, what: str, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*{what}.*(png|mp4|gif)"):
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
