from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.bad_photos import write_bad_photos
from support.figure import backdrop
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.preprocessing import schemas
from ag3d.preprocessing.photos import photo_index
from ag3d.preprocessing.photos import stage as photos
from ag3d.preprocessing.photos.manifest import Manifest

HUGE = 4000
SETTINGS = Photos(shards=1, max_pixels=1_000_000)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[str, str]]]:
    folder = tmp_path_factory.mktemp("bad") / "my photos"
    mask = np.zeros((300, 200), bool)
    mask[30:280, 60:140] = True
    return folder, write_bad_photos(folder, backdrop(300, 200), mask, backdrop(300, 200, 1), HUGE)


def test_every_bad_photograph_is_read_or_rejected_with_its_reason(bad) -> None:
    folder, expected = bad
    table = manifest_table(folder, 0, SETTINGS).set_index("path")
    assert sorted(table.index) == sorted(expected)
    assert table["photo_id"].is_unique
    for path, (stage, reason) in expected.items():
        row = table.loc[path]
        if stage == "photos":
            assert row["status"] == "rejected", path
            assert re.search(reason, row["reason"]), (path, row["reason"])
        else:
            assert (row["status"], row["reason"]) == ("ok", ""), path
    assert (table.loc["broken/tiny.png", ["value"]] == 20).all()


def test_sizes_are_upright_and_bounded(bad) -> None:
    folder, _ = bad
    table = manifest_table(folder, 0, SETTINGS).set_index("path")
    for turn in range(1, 9):
        assert tuple(table.loc[f"turned/exif {turn}.jpg", ["width", "height"]]) == (200, 300)
    huge = table.loc["huge.jpg"]
    assert 980_000 < huge["width"] * huge["height"] <= 1_000_000
    assert huge["scale"] == pytest.approx(huge["height"] / HUGE, rel=1e-2)


def test_shards_share_out_the_folder(bad) -> None:
    folder, expected = bad
    settings = Photos(shards=3)
    tables = [manifest_table(folder, shard, settings) for shard in range(3)]
    assert sorted(pd.concat(tables)["path"]) == sorted(expected)
    for shard, table in enumerate(tables):
        assert {photo_index.shard_of(name, 3) for name in table["photo_id"]} <= {shard}
        assert dict(table.dtypes.astype(str)) == dict(manifest_table(folder, 0, settings).dtypes.astype(str))


def test_the_first_of_several_copies_stays(tmp_path: Path, bad) -> None:
    for name in ("b/x.jpg", "a.jpg", "c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(bad[0] / "plain.jpg", tmp_path / name)
    table = manifest_table(tmp_path, 0, SETTINGS).set_index("path")
    assert list(table["status"]) == ["ok", "rejected", "rejected"]
    assert set(table["reason"][1:]) == {"duplicate of a.jpg"}
    assert table["sha256"].nunique() == 1


def test_names_in_two_unicode_forms_and_in_none(tmp_path: Path, bad) -> None:
    shutil.copy(bad[0] / "plain.jpg", tmp_path / "caf\u00e9.jpg")
    shutil.copy(bad[0] / "one/same.jpg", tmp_path / "cafe\u0301.jpg")
    shutil.copy(bad[0] / "two/same.jpg", os.fsencode(tmp_path) + b"/latin\xe9.jpg")
    table = manifest_table(tmp_path, 0, SETTINGS)
    assert table["photo_id"].is_unique
    assert list(table["status"]).count("ok") == 1
    reasons = " | ".join(table["reason"])
    assert "Unicode form" in reasons
    assert "not valid Unicode" in reasons


def test_links_in_a_circle_end(tmp_path: Path, bad) -> None:
    shutil.copy(bad[0] / "plain.jpg", tmp_path / "a.jpg")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "up").symlink_to(tmp_path)
    assert [entry.path for entry in photo_index.list_photos(tmp_path)] == ["a.jpg"]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, output: Path, *options: str) -> None:
    arguments = ["--input", str(folder), "--output", str(output), *options]
    monkeypatch.setattr("sys.argv", ["photos", *arguments])
    photos.main()


def test_command_writes_a_manifest_that_reads_the_photographs(tmp_path: Path, bad, monkeypatch) -> None:
    output = tmp_path / "data" / "photos" / "00000.parquet"
    run(monkeypatch, bad[0], output, "--shard", "0", "--shards", "1", "--max-pixels", "70000")
    assert list(read_table(output).columns) == list(schemas.PHOTOS.names)
    manifest = Manifest(output)
    for row, photo in manifest.photos():
        assert photo.rgb.shape == (row["height"], row["width"], 3)
        assert row["width"] * row["height"] <= 70_000


def test_a_data_set_can_be_moved_with_photographs_inside(tmp_path: Path, bad, monkeypatch) -> None:
    inside = tmp_path / "data" / "synthetic" / "photos"
    inside.mkdir(parents=True)
    shutil.copy(bad[0] / "plain.jpg", inside / "a.jpg")
    run(monkeypatch, inside, tmp_path / "data" / "photos" / "00000.parquet", "--shard", "0", "--shards", "1")
    (tmp_path / "data").rename(tmp_path / "moved")
    manifest = Manifest(tmp_path / "moved" / "photos" / "00000.parquet")
    assert manifest.photo(manifest.rows()[0]["photo_id"]).rgb.shape == (300, 200, 3)


def test_a_folder_that_went_away_is_told(tmp_path: Path, bad, monkeypatch) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(bad[0] / "plain.jpg", folder / "a.jpg")
    output = tmp_path / "data" / "photos" / "00000.parquet"
    run(monkeypatch, folder, output, "--shard", "0", "--shards", "1")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="elsewhere is gone"):
        Manifest(output)


def test_wrong_arguments_are_told(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match="does not exist"):
        run(monkeypatch, tmp_path / "nowhere", tmp_path / "o.parquet", "--shard", "0")
    with pytest.raises(UserError, match="--shard is 2"):
        run(monkeypatch, tmp_path, tmp_path / "o.parquet", "--shard", "2", "--shards", "2")
    assert not (tmp_path / "o.parquet").exists()
