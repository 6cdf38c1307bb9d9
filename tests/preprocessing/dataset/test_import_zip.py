"""Data sets of AG3D's layout are taken over as they are; who cannot be is told."""

from __future__ import annotations

import json
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ag3d.core.dataset_format import write_dataset
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import ShardReader, encode_png, write_shard
from ag3d.model.body.label import canonical_label
from ag3d.preprocessing.dataset import import_zip, rejected

SIDE = 32


def person(seed: int, side: int = SIDE, channels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inside = np.zeros((side, side), bool)
    inside[side // 8 : -side // 8, side // 4 : -side // 4] = True
    colour = np.where(inside[..., None], rng.integers(20, 220, 3), 255).astype(np.uint8)
    normal = np.where(inside[..., None], np.array([128, 128, 254]), 255).astype(np.uint8)
    return (np.dstack([colour, inside.astype(np.uint8) * 255]) if channels == 4 else colour), normal


def source(path: Path) -> None:
    label = canonical_label()[0].tolist()
    rows = {}
    with write_shard(path, {}) as shard:
        for k in range(6):
            picture, normal = person(k, 2 * SIDE if k == 5 else SIDE, 3 if k == 5 else 4)
            name = f"images/img_MEN-Denim-id_{k}.png"
            shard.add_image(name, picture)
            if k != 3:
                shard.add_image(name.replace("img", "normal"), normal)
            rows[name] = [label[:25], label[25:]]
        rows["images/img_MEN-Denim-id_1.png"] = [[0.0] * 25, [0.0] * 3]
        del rows["images/img_MEN-Denim-id_2.png"]
        shard.add("images/img_broken.png", b"none")
        shard.add("images/normal_broken.png", encode_png(person(0)[1]))
        rows["images/img_broken.png"] = [label[:25], label[25:]]
        shard.add_json("dataset.json", {"labels": list(rows.items())})


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, place: Path, shards: int = 2) -> list[Path]:
    made = []
    for shard in range(shards):
        output, table = folder / f"0000{shard}.zip", folder / f"rejected{shard}.parquet"
        options = ["--input", place, "--shard", shard, "--shards", shards, "--resolution", SIDE]
        monkeypatch.setattr("sys.argv", ["import_zip", *map(str, [*options, "--output", output, "--rejected", table])])
        import_zip.main()
        made.append(output)
    return made


def test_everybody_is_in_one_shard_or_in_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(tmp_path / "ag3d.zip")
    made = run(monkeypatch, tmp_path, tmp_path / "ag3d.zip")
    tables = [str(tmp_path / f"rejected{k}.parquet") for k in range(2)]
    monkeypatch.setattr("sys.argv", ["rejected", "--tables", *tables, "--output", str(tmp_path / "rejected.parquet")])
    rejected.main()
    reasons = read_table(tmp_path / "rejected.parquet").set_index("path")["reason"]
    found = [json.loads(ShardReader(path).read("dataset.json"))["labels"] for path in made]
    assert sum(map(len, found)) == 3  # 0, 4, 5
    assert {path.rsplit(":", 1)[1].rsplit("/", 1)[1] for path in reasons.index} == {
        "img_MEN-Denim-id_1.png",
        "img_MEN-Denim-id_2.png",
        "img_MEN-Denim-id_3.png",
        "img_broken.png",
    }
    assert "111" in reasons["ag3d.zip:images/img_MEN-Denim-id_1.png"]
    assert "no normal map" in reasons["ag3d.zip:images/img_MEN-Denim-id_3.png"]
    assert "cannot be read" in reasons["ag3d.zip:images/img_broken.png"]
    original = ShardReader(tmp_path / "ag3d.zip")
    taken = {name: shard for shard in map(ShardReader, made) for name in shard.names if name.startswith("img_")}
    same = next(name for name in taken if "id-0" in name)
    assert taken[same].read(same) == original.read("images/img_MEN-Denim-id_0.png")
    smaller = next(name for name in taken if "id-5" in name)
    expected, _ = person(5)
    np.testing.assert_allclose(taken[smaller].image(smaller), expected, atol=2)
    assert taken[smaller].image(smaller.replace("img", "normal")).shape == (SIDE, SIDE, 3)


def test_what_is_no_such_data_set_stops(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        import_zip.zips(tmp_path / "no.zip")
    with pytest.raises(UserError, match=r"holds no \.zip"):
        import_zip.zips(tmp_path)
    with write_shard(tmp_path / "a.zip", {}) as shard:
        shard.add("img_a.png", b"")
    with write_dataset(tmp_path / "out.zip", {}) as output, pytest.raises(UserError, match=r"dataset\.json"):
        list(import_zip.import_shard([ShardReader(tmp_path / "a.zip")], 0, 1, SIDE, output))


def person_entries(zip_file: zipfile.ZipFile, name: str, seed: int = 0) -> None:
    for entry, picture in zip((name, name.replace("img", "normal")), person(seed), strict=True):
        zip_file.writestr(zipfile.ZipInfo(entry), encode_png(picture))


@pytest.mark.parametrize(
    ("entry", "label"),
    [
        ("00000/img_a.png", "00000\\img_a.png"),
        ("00000\\img_a.png", "00000/img_a.png"),
        ("00000\\img_a.png", "00000\\img_a.png"),
        ("img_a.png", "./img_a.png"),
        (unicodedata.normalize("NFD", "img_é.png"), unicodedata.normalize("NFC", "img_é.png")),
    ],
)
def test_labels_are_found_however_a_system_spells_names(tmp_path: Path, entry: str, label: str) -> None:
    numbers = canonical_label()[0].tolist()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        person_entries(made, entry)
        made.writestr("dataset.json", json.dumps({"labels": [[label, numbers], ["img_other.png", numbers]]}))
    with write_dataset(tmp_path / "out.zip", {}) as output:
        assert list(import_zip.import_shard([ShardReader(tmp_path / "a.zip")], 0, 1, SIDE, output)) == []
        assert len(output) == 1


def test_a_spelling_of_two_entries_is_of_neither(tmp_path: Path) -> None:
    numbers = canonical_label()[0].tolist()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as made:
        for name in ("a/img.png", "a\\img.png"):
            person_entries(made, name)
        made.writestr("dataset.json", json.dumps({"labels": {"./a/img.png": numbers}}))
    with write_dataset(tmp_path / "out.zip", {}) as output:
        rows = list(import_zip.import_shard([ShardReader(tmp_path / "a.zip")], 0, 1, SIDE, output))
    assert [row["reason"] for row in rows] == ["it has no label"] * 2


def test_why_one_name_is_taken_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = canonical_label()[0].tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's, that a name is there twice
        for zip_name, names in (("a", ["img_a.png", "img_a.png", "img_b.png"]), ("c", ["img_a.png"])):
            with zipfile.ZipFile(tmp_path / f"{zip_name}.zip", "w") as made:
                for seed, name in enumerate(names):
                    person_entries(made, name, seed)
                made.writestr("dataset.json", json.dumps({"labels": dict.fromkeys(names, numbers)}))
    sources = [ShardReader(tmp_path / "a.zip"), ShardReader(tmp_path / "c.zip")]
    with write_dataset(tmp_path / "out.zip", {}) as output:
        rows = list(import_zip.import_shard(sources, 0, 1, SIDE, output))
    assert [(row["path"], row["reason"]) for row in rows] == [
        ("a.zip:img_a.png", "the zip has this entry twice; the last is taken"),
        ("c.zip:img_a.png", "another zip has a picture of this name"),
    ]
    monkeypatch.setattr(import_zip, "photo_id", lambda name: "same-0")
    with write_dataset(tmp_path / "out.zip", {}) as output:
        rows = list(import_zip.import_shard(sources[:1], 0, 1, SIDE, output))
    assert rows[-1]["reason"] == "its identifier is that of a.zip:img_a.png; rename one of the two"


def test_enormous_pictures_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source(tmp_path / "ag3d.zip")
    monkeypatch.setattr(import_zip, "LARGEST_SIDE", SIDE)
    label = canonical_label()[0].tolist()
    with pytest.raises(import_zip.Unusable, match=f"larger than {SIDE} pixels"):
        import_zip.convert(
            ShardReader(tmp_path / "ag3d.zip"), "images/img_MEN-Denim-id_5.png", [label[:25], label[25:]], SIDE
        )
