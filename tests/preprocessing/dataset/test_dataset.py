"""Shards of the data set are what AG3D's data loader expects."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from support.stage_tables import write_verdicts

from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader, write_shard
from ag3d.preprocessing import schemas
from ag3d.preprocessing.dataset import stage as dataset
from ag3d.preprocessing.normals.inpainting import unit
from ag3d.preprocessing.normals.stage import encode

PEOPLE, VERDICTS = ("b-2", "a-1", "c-3"), {"c-3": "rejected"}


def inputs(folder: Path, resolution: int = 32) -> list[str]:
    random = np.random.default_rng(0)
    person = np.zeros((resolution, resolution), bool)
    person[4:-4, 8:-8] = True
    vectors = np.broadcast_to(unit(np.array([0.6, 0.0, 0.8])), (resolution, resolution, 3))
    with write_shard(folder / "aligned.zip", {}) as aligned, write_shard(folder / "normals.zip", {}) as normals:
        for name in PEOPLE:
            colour = random.integers(0, 256, (resolution, resolution, 3), np.uint8)
            aligned.add_image(f"{name}.png", np.dstack([colour, person.astype(np.uint8) * 255]))
            normals.add_image(f"{name}.png", encode(vectors, person))
    labels = {name: {"label": [float(ord(name[0]) + i) for i in range(111)]} for name in PEOPLE}
    write_verdicts(folder / "aligned.zip", schemas.ALIGNED, labels)
    write_verdicts(folder / "normals.zip", schemas.NORMALS, {n: {"status": VERDICTS.get(n, "ok")} for n in PEOPLE})
    return ["--aligned", str(folder / "aligned.zip"), "--normals", str(folder / "normals.zip")]


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, resolution: int, name: str = "00000.zip") -> Path:
    output = folder / name
    options = [*inputs(folder), "--output", str(output), "--resolution", str(resolution)]
    monkeypatch.setattr("sys.argv", ["dataset", *options])
    dataset.main()
    return output


def load_as_ag3d(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The reading rules of the reference's loader: images are entries whose path contains 'img', sorted; the normal map
    is the same path with every 'img' replaced; labels by path."""
    with zipfile.ZipFile(path) as archive:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        suffixes = tuple(PIL.Image.registered_extensions())
        names = sorted(n for n in archive.namelist() if n.lower().endswith(suffixes) and "img" in n)
        table = dict(json.loads(archive.read("dataset.json"))["labels"])
        result = {}
        for name in names:
            pictures = [
                np.array(PIL.Image.open(io.BytesIO(archive.read(n)))) for n in (name, name.replace("img", "normal"))
            ]
            camera, smpl = table[name]
            assert (len(camera), len(smpl)) == (25, 86)
            result[name] = (*pictures, np.concatenate([camera, smpl]).astype(np.float32))
        assert len(table) == len(names)
        return result


@pytest.mark.parametrize("resolution", [32, 16, 48])
def test_a_shard_reads_by_ag3ds_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resolution: int) -> None:
    items = load_as_ag3d(run(tmp_path, monkeypatch, resolution))
    assert list(items) == ["img_a-1.png", "img_b-2.png"]  # the rejected one is not there
    for name, (image, normal, label) in items.items():
        assert image.shape == (resolution, resolution, 4)
        assert image.dtype == np.uint8
        assert normal.shape == (resolution, resolution, 3)
        np.testing.assert_array_equal(label, ord(name[4]) + np.arange(111, dtype=np.float32))
        background = image[..., 3] < 0.3 * 255
        assert (normal[background] == 255).all()
        inner = normal[resolution // 2, resolution // 2].astype(float) / 127.5 - 1
        np.testing.assert_allclose(inner, [0.6, 0, 0.8], atol=0.02)
        vectors = normal[~background].astype(float) / 127.5 - 1
        assert np.abs(np.linalg.norm(vectors, axis=-1) - 1).max() < 0.02


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (run(tmp_path, monkeypatch, 16, name) for name in ("0.zip", "1.zip"))
    assert first.read_bytes() == second.read_bytes()


def test_reducing_a_crop_keeps_the_persons_colour_at_the_edge() -> None:
    crop = np.zeros((32, 32, 4), np.uint8)
    crop[..., 2] = 255  # blue background
    crop[:, 13:] = (200, 10, 10, 255)
    small = dataset.resize_crop(crop, 8)
    assert small[4, 3, 3] in range(50, 210)  # a column that is part person, part background
    assert np.abs(small[4, 3, :3].astype(int) - (200, 10, 10)).max() <= 3


def test_people_who_are_shown_already_stay_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "alike.parquet", pd.DataFrame({"person_id": ["a-1"], "of": ["b-2"], "value": [3.0]}), {})
    options = [*inputs(tmp_path), "--output", str(tmp_path / "00000.zip"), "--resolution", "32"]
    monkeypatch.setattr("sys.argv", ["dataset", *options, "--alike", str(tmp_path / "alike.parquet")])
    dataset.main()
    assert list(load_as_ag3d(tmp_path / "00000.zip")) == ["img_b-2.png"]


def test_a_shard_is_packed_again_only_for_other_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pack(*alike: str) -> os.stat_result:
        rows = {"person_id": alike, "of": ["b-2"] * len(alike), "value": [3.0] * len(alike)}
        write_table(tmp_path / "alike.parquet", pd.DataFrame(rows), {})
        monkeypatch.setattr("sys.argv", ["dataset", *options, "--alike", str(tmp_path / "alike.parquet")])
        dataset.main()
        return output.stat()

    output = tmp_path / "00000.zip"
    options = [*inputs(tmp_path), "--output", str(output), "--resolution", "32"]
    first = pack()
    os.utime(output, (0, 0))
    second = pack("of-another-shard")
    assert second.st_ino == first.st_ino
    assert second.st_mtime > 1  # newer than what it was made from, for the workflow
    assert pack("a-1").st_ino != first.st_ino
    assert "img_a-1.png" not in ShardReader(output).names
    damaged = bytearray(output.read_bytes())
    damaged[100] ^= 255
    output.write_bytes(damaged)
    pack("a-1")
    assert zipfile.ZipFile(output).testzip() is None
