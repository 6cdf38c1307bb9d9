"""The command `ag3d export`: its files, its options and what it says of wrong ones."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from support import ROOT
from support.gltf_file import GltfFile

from ag3d.core.errors import UserError
from ag3d.core.files import read_json
from ag3d.model.avatars.identities import People
from ag3d.model.avatars.latents import write_latents
from ag3d.model.export import stage as export


@pytest.fixture
def command(small_checkpoint: Path, tiny_body_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(what: str, output: Path, *words: object) -> None:
        sizes = ["--resolution", 48, "--faces", 1500, "--texture", 64]
        given = ["export", what, "--checkpoint", small_checkpoint, "--body", tiny_body_path, "--output", output, *sizes]
        monkeypatch.setattr(sys, "argv", [str(word) for word in (*given, *words)])
        export.main()

    return run


def test_meshes(command, tmp_path: Path, poses_path: Path) -> None:
    def points(name: str, *words: object) -> np.ndarray:
        command("mesh", tmp_path / name, *words)
        return trimesh.load_mesh(tmp_path / name, process=False).vertices

    first = points("a.ply")
    again = points("b.ply", "--poses", poses_path)
    other = points("c.ply", "--seed", 3)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    assert first.shape != other.shape or not np.allclose(first, other)
    posed = points("d.ply", "--poses", poses_path, "--posed")
    assert posed.shape == again.shape
    assert not np.allclose(posed, again, atol=0.01)
    stepping = points("e.ply", "--motion", "walk", "--frame", 10)
    hand = np.abs(first[:, 0]).argmax()
    assert stepping[hand, 1] < first[hand, 1] - 0.2  # arms down
    assert len(trimesh.load_mesh(tmp_path / "a.ply").faces) <= 1500
    assert np.ptp(points("f.ply", "--level", -0.02)[:, 1]) > np.ptp(first[:, 1]) + 0.02


def test_textures_and_colours(command, tmp_path: Path) -> None:
    command("mesh", tmp_path / "a.glb")
    file = GltfFile(tmp_path / "a.glb")
    assert "TEXCOORD_0" in file.attributes()
    assert cv2.imdecode(np.frombuffer(file.picture(), np.uint8), 1).shape == (64, 64, 3)
    command("mesh", tmp_path / "b.glb", "--texture", 0)
    assert "COLOR_0" in GltfFile(tmp_path / "b.glb").attributes()
    command("mesh", tmp_path / "c.obj")
    assert {path.name for path in tmp_path.glob("c.*")} == {"c.obj", "c.mtl", "c.png"}


def test_avatars(command, tmp_path: Path) -> None:
    command("avatar", tmp_path / "a.glb")
    file = GltfFile(tmp_path / "a.glb")
    assert [entry["name"] for entry in file.tree["animations"]] == ["walk", "wave"]
    assert file.tree["asset"]["extras"] == {"seed": 0}
    command("avatar", tmp_path / "b.glb")
    assert (tmp_path / "a.glb").read_bytes() == (tmp_path / "b.glb").read_bytes()
    np.savez(tmp_path / "dance.npz", poses=np.zeros((30, 72)), mocap_framerate=60.0)
    command("avatar", tmp_path / "c.glb", "--motion", tmp_path / "dance.npz", "--motion", "wave", "--texture", 0)
    assert [entry["name"] for entry in GltfFile(tmp_path / "c.glb").tree["animations"]] == ["dance", "wave"]


def test_style_codes(command, tmp_path: Path, small_generator, pose_distribution: torch.Tensor) -> None:
    people = [People(small_generator, pose_distribution, 1, seed, 0.7) for seed in (4, 5, 6)]
    ws, label = (torch.cat([getattr(one, name) for one in people]) for name in ("ws", "label"))
    write_latents(tmp_path / "ws.npz", ws, label, [4, 5, 6])
    np.save(tmp_path / "poses.npy", pose_distribution.numpy())
    for words in ([], ["--posed"]):
        command("mesh", tmp_path / "a.ply", "--ws", tmp_path / "ws.npz", "--seed", 5, *words)
        command("mesh", tmp_path / "b.ply", "--poses", tmp_path / "poses.npy", "--seed", 5, *words)
        assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    with pytest.raises(UserError, match=r"ws.npz holds no person 0; it has 4, 5, 6"):
        command("mesh", tmp_path / "c.ply", "--ws", tmp_path / "ws.npz")
    command("all", tmp_path / "all", "--ws", tmp_path / "ws.npz", "--motion", "wave")
    assert sorted(path.name for path in (tmp_path / "all").glob("*.glb")) == ["000004.glb", "000005.glb", "000006.glb"]


@pytest.mark.slow
def test_colours_of_images(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    textured = export.textured
    monkeypatch.setattr(export, "textured", lambda *given: asked.append(given[-1]) or textured(*given))
    for colors in ("auto", "field", "images"):
        command("mesh", tmp_path / f"{colors}.glb", "--colors", colors)
    assert [shown is not None for shown in asked] == [False, False, True]  # this network's images are small
    monkeypatch.setattr(export, "FINE", 32)
    command("mesh", tmp_path / "fine.glb")
    assert asked[-1] is not None


@pytest.mark.slow
def test_a_folder_as_the_rule_wants_it(command, tmp_path: Path, poses_path: Path) -> None:
    folder = tmp_path / "export"
    (tmp_path / "config.yaml").write_text("avatars: {seed: 4}\nexport: {number: 2, motions: [walk]}")
    command("all", folder, "--poses", poses_path, "--config", tmp_path / "config.yaml")
    rule = (ROOT / "workflow" / "rules" / "export.smk").read_text()
    fixed = set(re.findall(r'export/(\w+\.\w+)"', rule))
    assert {path.name for path in folder.iterdir()} == {"000004.glb", "000005.glb"} | fixed
    assert len(fixed) == 2
    record = read_json(folder / "export.json")
    assert record["seeds"] == [4, 5]
    assert cv2.imread(str(folder / "meshes.png")).shape == (2 * 384, 5 * 384, 3)
    command("avatar", tmp_path / "alone.glb", "--poses", poses_path, "--seed", 5, "--motion", "walk")
    alone, together = (
        GltfFile(tmp_path / "alone.glb").skinned("walk", 0.3),
        GltfFile(folder / "000005.glb").skinned("walk", 0.3),
    )
    np.testing.assert_allclose([alone.min(0), alone.max(0)], [together.min(0), together.max(0)], atol=0.002)


@pytest.mark.parametrize(
    ("what", "name", "words", "message"),
    [
        ("mesh", "a.stl", [], r"a.stl: the name must end in .glb, .obj or .ply"),
        ("avatar", "a.obj", [], r"a.obj: the name must end in .glb"),
        ("mesh", "a.glb", ["--posed"], "--posed needs --poses"),
        ("mesh", "a.glb", ["--posed", "--poses", "p.npy", "--motion", "walk"], "give one of them"),
        ("mesh", "a.glb", ["--motion", "walk", "--frame", 66], "--frame 66: the motion walk has the frames 0 to 65"),
        ("avatar", "a.glb", ["--motion", "runn.npz"], "runn.npz does not exist"),
        ("mesh", "a.glb", ["--checkpoint", "nowhere"], "nowhere is not a checkpoint"),
        ("mesh", "a.glb", ["--poses", "none.npy"], "none.npy does not exist"),
        ("mesh", "a.glb", ["--device", "abacus"], "--device is 'abacus'"),
        ("mesh", "a.glb", ["--resolution", 0], "resolution' is 0; it must be between 16 and 1024"),
        ("mesh", "a.glb", ["--texture", -1], "texture' is -1"),
        ("mesh", "a.glb", ["--faces", 3], "faces' is 3"),
        ("mesh", "a.glb", ["--colors", "red"], "texture_source' is 'red'; it must be one of 'auto', 'images', 'field'"),
        ("mesh", "a.glb", ["--ws", "none.npz"], "none.npz does not exist"),
        ("mesh", "a.glb", ["--seed", -1], "'seed' is -1"),
        ("mesh", "a.glb", ["--truncation", 2], "'truncation' is 2.0"),
    ],
)
def test_wrong_options_are_named(command, tmp_path: Path, what: str, name: str, words: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        command(what, tmp_path / name, *words)
    assert not list(tmp_path.iterdir())


def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ag3d export", "--help"])
    with pytest.raises(SystemExit) as caught:
        export.main()
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("avatar", "--motion", "--texture", "--max-faces", ".glb"))
