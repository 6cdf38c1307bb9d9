"""AG3D data sets that were packed elsewhere: folders, names, image kinds, label forms, compression."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.core.shards import encode_png
from ag3d.model.body import label as body_label
from ag3d.model.training.data import ZipDataset
from ag3d.preprocessing.dataset import pose_distribution

SIDE = 24
LABELS = body_label.canonical_label(3, torch.randn(3, 10, generator=torch.Generator().manual_seed(0))).numpy()
PERSON = np.zeros((SIDE, SIDE), bool)
PERSON[3:-3, 8:-8] = True
NORMAL = np.where(PERSON[..., None], np.uint8([127, 127, 255]), np.uint8(255))


def picture(kind: str, number: int) -> bytes:
    """A flat person of grey 50, 60, … on white; kinds: rgba, rgb, grey, jpg."""
    grey = np.where(PERSON, np.uint8(50 + 10 * number), np.uint8(255))
    if kind == "grey":
        return encode_png(grey)
    if kind == "jpg":
        return cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    colour = np.repeat(grey[..., None], 3, axis=2)
    if kind == "rgba":
        colour = np.dstack([np.full((SIDE, SIDE, 3), 50 + 10 * number, np.uint8), 255 * PERSON.astype(np.uint8)])
    return encode_png(colour)


def pack(
    path: Path,
    names: list[str],
    kind: str = "rgba",
    form: str = "mapping",
    method: int = zipfile.ZIP_STORED,
    **more: Any,
) -> Path:
    """A zip of people; `form` is how the labels are written, `more` are further entries or label rows."""
    rows: dict[str, Any] = {name: [row[:25].tolist(), row[25:].tolist()] for name, row in zip(names, LABELS)}
    if form == "flat":
        rows = {name: row.tolist() for name, row in zip(names, LABELS)}
    rows |= more.get("rows", {})
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, name in reversed(list(enumerate(names))):
            archive.writestr(name, picture(kind, number))
            archive.writestr(name.replace("img", "normal"), encode_png(NORMAL))
        for name, data in more.get("entries", {}).items():
            archive.writestr(name, data)
        labels = [list(pair) for pair in rows.items()] if form == "pairs" else rows
        archive.writestr("dataset.json", json.dumps({"labels": labels, "name": "deepfashion"}))
    return path


def check(path: Path, names: list[str]) -> None:
    dataset = ZipDataset([path], SIDE)
    assert dataset.names == sorted(names)
    for index, name in enumerate(dataset.names):
        number = names.index(name)
        item = dataset[index]
        np.testing.assert_array_equal(item.label, LABELS[number])
        assert np.abs(item.image[:, PERSON].astype(int) - (50 + 10 * number)).max() <= 2
        assert (item.image[:, 0, 0] == 255).all()
        assert item.normal[:, 12, 12].tolist()[2] == 255
        assert (item.normal[:, ~PERSON] == 255).all()


DEEPFASHION = ["images/img_MEN-Denim-id_00000089-04_7_additional.png", "images/img_WOMEN-a.png", "images/img_b.png"]


@pytest.mark.parametrize("form", ["mapping", "pairs", "flat"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_forms_of_labels_and_compression(tmp_path, form, method):
    check(pack(tmp_path / "data.zip", DEEPFASHION, form=form, method=method), DEEPFASHION)


@pytest.mark.parametrize("kind", ["rgba", "rgb", "grey", "jpg"])
def test_kinds_of_images(tmp_path, kind):
    ending = "jpg" if kind == "jpg" else "png"
    names = [f"img_{number}.{ending}" for number in range(3)]
    check(pack(tmp_path / "data.zip", names, kind), names)


@pytest.mark.parametrize("pattern", ["img/{}.png", "a/b/img_{}.PNG", "img/x_img_{}.png"])
def test_every_img_in_a_path_becomes_normal(tmp_path, pattern):
    names = [pattern.format(letter) for letter in "cab"]
    check(pack(tmp_path / "data.zip", names), names)


def test_what_is_no_person_is_passed_over(tmp_path):
    names = ["images/img_0.png", "images/img_1.png"]
    entries = {
        "images/": b"",
        "images/img_0_seg.png": picture("grey", 0),
        "__MACOSX/images/._img_0.png": b"\0\5\x16\7",
        "images/._img_0.png": b"\0\5\x16\7",
        "images/readme.txt": b"img",
        "README.md": b"",
    }
    rows = {"images/img_of_another_zip.png": [LABELS[2][:25].tolist(), LABELS[2][25:].tolist()]}
    check(pack(tmp_path / "data.zip", names, entries=entries, rows=rows), names)


def test_labels_make_a_pose_distribution(tmp_path, monkeypatch):
    path = pack(tmp_path / "data.zip", DEEPFASHION, form="pairs")
    monkeypatch.setattr("sys.argv", ["poses", str(path), "--output", str(tmp_path / "poses.npy")])
    pose_distribution.main()
    found = np.load(tmp_path / "poses.npy")
    np.testing.assert_array_equal(found, LABELS[[DEEPFASHION.index(name) for name in sorted(DEEPFASHION)]])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"labels": None}, "every image needs a label"),
        ({}, "every image needs a label"),
        ([], "every image needs a label"),
        ({"labels": {DEEPFASHION[0]: [[1.0] * 25, [1.0] * 85]}}, "has 110 numbers"),
        ({"labels": {DEEPFASHION[0]: [[1.0] * 25, [1e300] * 86]}}, "finite"),
    ],
)
def test_labels_that_cannot_be_used(tmp_path, monkeypatch, content, match):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(DEEPFASHION[0], picture("rgb", 0))
        archive.writestr(DEEPFASHION[0].replace("img", "normal"), encode_png(NORMAL))
        archive.writestr("dataset.json", json.dumps(content))
    with pytest.raises(UserError, match=f"data.zip.*{match}"):
        ZipDataset([path], SIDE)
    monkeypatch.setattr("sys.argv", ["poses", str(path), "--output", str(tmp_path / "poses.npy")])
    with pytest.raises(UserError, match=f"data.zip.*{match}"):
        pose_distribution.main()


def test_a_folder_is_told_how_to_become_a_zip(tmp_path):
    (tmp_path / "deepfashion").mkdir()
    with pytest.raises(UserError, match="deepfashion is a folder; pack it: cd .*deepfashion && zip -0 -r"):
        ZipDataset([tmp_path / "deepfashion"], SIDE)


def test_an_encrypted_entry_is_named(tmp_path):
    path = pack(tmp_path / "data.zip", ["img_0.png"])
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag that says: encrypted
        data[data.index(signature + b"", 0) + place] |= 1
    path.write_bytes(data)
    dataset = ZipDataset([path], SIDE)
    with pytest.raises(UserError, match="data.zip.*img_0.png.*cannot be read"):
        dataset[0]
