from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.figure import Figure, backdrop, draw
from support.stage_tables import manifest_table, people_table

from ag3d.config.data import People, Photos
from ag3d.core.files import read_record, read_table, write_table
from ag3d.model.body.body import Body
from ag3d.preprocessing import schemas
from ag3d.preprocessing.people import stage as people
from ag3d.preprocessing.people.blazepose import BlazePose, FaceDetector
from ag3d.preprocessing.people.person_search import find_people, person_box, same_person, share_on_mask
from ag3d.preprocessing.photos.manifest import recorded_folder


def table_of(pictures: dict[str, np.ndarray], folder: Path, net: BlazePose, **options) -> pd.DataFrame:
    """The stage's table, by name, for pictures written into `folder`."""
    place = folder / "pictures"
    place.mkdir()
    for name, picture in pictures.items():
        Image.fromarray(picture).save(place / f"{name}.png")
    listed = manifest_table(place, 0, Photos(shards=1))
    path = folder / "photos" / "00000.parquet"
    write_table(path, listed, {"settings": {"max_pixels": 10**7}, "folder": recorded_folder(place, path)})
    table = people_table(path, net, **options)
    return table.set_index(table["path"].str.removesuffix(".png"))


def test_the_good_pass_and_the_bad_say_why(tmp_path: Path, blazepose: BlazePose, open_body: Body) -> None:
    plain, behind = draw(open_body), draw(open_body, turn=np.pi, seed=2)
    low = int(np.flatnonzero(plain.mask.any(axis=1))[0] + 0.8 * 0.72 * 640)
    crown = int(np.flatnonzero(plain.mask.any(axis=1))[0] + 40)
    table = table_of(
        {
            "plain": plain.rgb,
            "behind": behind.rgb,
            "nobody": backdrop(640, 448, 5),
            "knees": plain.rgb[:low],
            "headless": plain.rgb[crown:],
            "short": draw(open_body, 160, 160, tall=0.5).rgb,
            "tiny": np.zeros((20, 20, 3), np.uint8),
        },
        tmp_path,
        blazepose,
    )
    assert "tiny" not in table.index  # the stage before rejected it
    assert set(table.index[table["status"] == "ok"]) == {"plain", "behind"}
    assert table["reason"]["nobody"] == "no person found"
    assert "cut off at the ankles" in table["reason"]["knees"]
    assert "head is outside" in table["reason"]["headless"]
    assert "pixels tall" in table["reason"]["short"]
    assert table["value"]["short"] == pytest.approx(80, abs=8)
    assert (table["value"][["knees", "headless"]] > 0).all()


def test_measurements_describe_the_person(tmp_path: Path, blazepose: BlazePose, standing: Figure) -> None:
    row = table_of({"a": standing.rgb}, tmp_path, blazepose).loc["a"]
    rows, columns = np.nonzero(standing.mask)
    truth = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(row["box"], truth, atol=12)
    assert [len(row[name]) for name in ("box", "landmarks_2d", "landmarks_3d", "visibility", "region")] == [
        4,
        66,
        99,
        33,
        4,
    ]
    assert (row["width"], row["height"], row["people"]) == (448, 640, 1)
    assert row["person_id"] == row["photo_id"]
    assert row["score"] > 0.9


@pytest.mark.parametrize("tall", [0.25, 0.1])
def test_small_people_are_found(blazepose: BlazePose, open_body: Body, tall: float) -> None:
    figure = draw(open_body, 1200, 1200, tall=tall, centre=(0.3, 0.6))
    found = find_people(blazepose, figure.rgb, 0.5).people
    assert len(found) == 1
    middle = person_box(found[0], figure.rgb.shape).reshape(2, 2).mean(axis=0)
    np.testing.assert_allclose(middle, [360, 720], atol=0.15 * tall * 1200)


def test_of_several_people_the_main_one_stays(tmp_path: Path, blazepose: BlazePose, open_body: Body) -> None:
    first = draw(open_body, 640, 900, centre=(0.45, 0.5))
    both = draw(open_body, 640, 900, tall=0.65, centre=(0.8, 0.55), onto=first.rgb)
    row = table_of({"both": both.rgb}, tmp_path, blazepose).loc["both"]
    assert (row["status"], row["people"]) == ("ok", 2)
    assert row["box"][0] < 405 < row["box"][2]
    assert row["box"][3] - row["box"][1] > 0.7 * 640


@pytest.mark.parametrize("shift", [0.1, 0.16])
def test_people_who_cover_each_other_are_rejected(
    tmp_path: Path, blazepose: BlazePose, open_body: Body, shift: float
) -> None:
    first = draw(open_body, 640, 900, centre=(0.5 - shift / 2, 0.5))
    both = draw(open_body, 640, 900, centre=(0.5 + shift / 2, 0.52), turn=0.5, onto=first.rgb)
    row = table_of({"both": both.rgb}, tmp_path, blazepose).loc["both"]
    assert row["status"] == "rejected"
    assert "several people" in row["reason"]


def test_what_lies_on_the_person_without_a_face_is_nobody(
    blazepose: BlazePose, standing: Figure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small figure found in the folds of a shirt; the same one with a face is somebody in front."""
    main = find_people(blazepose, standing.rgb, 0.5).people[0]
    middle = main.landmarks_2d[[11, 12, 23, 24]].mean(axis=0)
    small = dataclasses.replace(main, landmarks_2d=middle + 0.1 * (main.landmarks_2d - middle))
    beside = dataclasses.replace(main, landmarks_2d=main.landmarks_2d + np.array([150, 0]))
    assert share_on_mask(main, small) > 0.9 > 0.3 > share_on_mask(main, beside)
    faces = FaceDetector(blazepose.files[0].parent)
    for score, expected in ((0.2, [beside]), (0.95, [small, beside])):
        monkeypatch.setattr(faces, "score", lambda rgb, region, score=score: score)
        found = people.real_people([main, small, beside], faces, standing.rgb, People())
        assert [id(p) for p in found] == [id(p) for p in expected]


def test_two_looks_at_one_person_are_the_same(blazepose: BlazePose, standing: Figure) -> None:
    region = blazepose.detect(standing.rgb)[0].region()
    assert same_person(blazepose.predict(standing.rgb, region), blazepose.track(standing.rgb, region))


def test_settings_decide(tmp_path: Path, blazepose: BlazePose, standing: Figure) -> None:
    row = table_of({"a": standing.rgb}, tmp_path, blazepose, min_height=600).loc["a"]
    assert row["reason"] == "the person is less than 600 pixels tall"


def test_command_on_an_empty_shard(tmp_path: Path, blazepose_folder: Path, monkeypatch) -> None:
    path = tmp_path / "photos" / "00000.parquet"
    (tmp_path / "pictures").mkdir()
    Image.fromarray(backdrop(200, 200)).save(tmp_path / "pictures" / "a.png")
    empty = manifest_table(tmp_path / "pictures", 0, Photos(shards=1)).iloc[:0]
    write_table(path, empty, {"settings": {"max_pixels": 10**6}, "folder": "../pictures"})
    output = tmp_path / "people" / "00000.parquet"
    options = ["--manifest", str(path), "--models", str(blazepose_folder), "--output", str(output)]
    monkeypatch.setattr("sys.argv", ["people", *options, "--min-height", "50"])
    people.main()
    assert list(read_table(output).columns) == schemas.PEOPLE.names
    assert len(read_table(output)) == 0
    assert read_record(output)["settings"]["min_height"] == 50
