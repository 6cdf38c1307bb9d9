"""What is missing of DeepFashion and UBC Fashion is said before anything runs on them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.core.errors import UserError
from ag3d.preprocessing.photos import source_check
from ag3d.preprocessing.photos.photo_index import Entry, cache_listing, listing_table, read_listing
from ag3d.preprocessing.photos.stage import photos_of_shard


def deepfashion(folder: Path) -> list[str]:
    names = [
        "MEN/Denim/id_00000089/04_7_additional.jpg",
        "WOMEN/Dresses/id_00000002/02_1_front.jpg",
        "WOMEN/Tees_Tanks/id_00000007/01_2_side.jpg",
    ]
    for number, name in enumerate(names):
        path = folder / "img_highres" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((200, 150, 3), 60 * number, np.uint8)).save(path)
    (folder / "README.txt").write_text("as delivered")
    return names


def film(path: Path) -> None:
    writer = imageio_ffmpeg.write_frames(str(path), (64, 96), fps=10)
    writer.send(None)
    for value in (10, 120, 240):
        writer.send(np.full((96, 64, 3), value, np.uint8).tobytes())
    writer.close()


@pytest.mark.parametrize(
    "name",
    [
        "MEN/Denim/id_00000089/04_7_additional.jpg",
        "img_highres/MEN/Denim/id_00000089/04_7_additional.jpg",
        "MEN-Denim-id_00000089-04_7_additional.png",
        "images/img_MEN-Denim-id_00000089-04_7_additional.png",
        "fashionMENDenimid0000008904_7additional.jpg",
    ],
)
def test_all_names_of_a_photograph_are_one(name: str) -> None:
    assert source_check.name_key(name) == "mendenimid00000089047additional"


def test_women_are_not_men() -> None:
    assert source_check.name_key("WOMEN/Denim/id_1/01_1_front.jpg") != source_check.name_key(
        "MEN/Denim/id_1/01_1_front.jpg"
    )


def test_a_list_says_which_photographs_are_used(tmp_path: Path) -> None:
    names = deepfashion(tmp_path / "data")
    listing = tmp_path / "list.txt"
    listing.write_text("# full bodies\nMEN-Denim-id_00000089-04_7_additional.png\n" + names[1] + ", front\n")
    settings = Photos(source="folder", layout="deepfashion", include=str(listing), shards=1)
    assert source_check.check(tmp_path / "data", settings) == {
        "kind": "deepfashion",
        "files": 2,
        "listed": 2,
        "folders": {"MEN": 1, "WOMEN": 1},
    }
    table = manifest_table(tmp_path / "data", 0, settings)
    assert sorted(table["path"]) == [f"img_highres/{name}" for name in names[:2]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {f"img_{names[0].replace('/', '-')}": [1]}}))
    settings.include = str(tmp_path / "dataset.json")
    assert source_check.check(tmp_path / "data", settings)["files"] == 1
    settings.include = ""
    assert source_check.check(tmp_path / "data", settings)["files"] == 3


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    deepfashion(tmp_path / "data")
    (tmp_path / "list.txt").write_text(
        "MEN-Denim-id_00000089-04_7_additional.png\nMEN-Denim-id_00000090-01_1_front.png\n"
    )
    settings = Photos(source="folder", layout="deepfashion", include=str(tmp_path / "list.txt"))
    with pytest.raises(UserError, match=r"1 of the 2 files .*id_00000090-01_1_front"):
        source_check.check(tmp_path / "data", settings)
    settings.include = str(tmp_path / "nothing.txt")
    with pytest.raises(UserError, match=r"photos\.include"):
        source_check.check(tmp_path / "data", settings)
    Image.fromarray(np.zeros((200, 150, 3), np.uint8)).save(tmp_path / "holiday.jpg")
    (tmp_path / "other").mkdir()
    (tmp_path / "holiday.jpg").rename(tmp_path / "other" / "holiday.jpg")
    for kind in ("deepfashion", "ubcfashion"):
        with pytest.raises(UserError, match=f"is not {kind} as its owners deliver it"):
            source_check.check(tmp_path / "other", Photos(source="folder", layout=kind))


def test_videos_are_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "train").mkdir()
    film(tmp_path / "train" / "91+HAqJ.mp4")
    (tmp_path / "list.txt").write_text("https://videos.example/I/91%2BHAqJ.mp4\n")
    settings = Photos(source="folder", layout="ubcfashion", include=str(tmp_path / "list.txt"))
    assert source_check.check(tmp_path, settings)["folders"] == {"train": 1}
    assert "1 of the 500" in caplog.text
    (tmp_path / "train" / "broken.mp4").write_bytes(b"no film")
    settings.include = ""
    with pytest.raises(UserError, match="broken.mp4"):
        source_check.check(tmp_path, settings)


PATHS = [
    "a_12.jpg",
    "a_1_2.jpg",
    "anna/001.jpg",
    "ben/001.jpg",
    "Photo 1.jpg",
    "Photo 2.jpg",
    "写真一.jpg",
    "写真二.jpg",
]
PATHS += [
    "é.JPG",
    "a, b.jpg",
    "#1.jpg",
    "100%25.jpg",
    "c.jpg",
    "c.png",
    "d.heic",
    "train/x+y.mp4",
    "cy/my.jpg",
    "d.v2.png",
]


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("写真一.jpg", ["写真一.jpg"]),
        ("Photo 1.jpg", ["Photo 1.jpg"]),
        ('"Photo 2.jpg",front', ["Photo 2.jpg"]),
        ("  a_12.jpg , front", ["a_12.jpg"]),
        ("a_1_2.jpg train", ["a_1_2.jpg"]),
        ("anna/001.jpg", ["anna/001.jpg"]),
        ("./ben//001.jpg", ["ben/001.jpg"]),
        ("C:\\photos\\ben\\001.JPG", ["ben/001.jpg"]),
        ("/data/run 1/anna/001.jpg", ["anna/001.jpg"]),
        ("file:///data/ben/001.jpg", ["ben/001.jpg"]),
        (unicodedata.normalize("NFD", "é.jpg"), ["é.JPG"]),
        ("a, b.jpg", ["a, b.jpg"]),
        ("#1.jpg", ["#1.jpg"]),
        ("100%25.jpg", ["100%25.jpg"]),
        ("c.png", ["c.png"]),
        ("d.jpg", ["d.heic"]),
        ("https://films.example/I/x%2By.mp4?size=1", ["train/x+y.mp4"]),
        ("my.jpg", ["cy/my.jpg"]),
        ("d.v2.png", ["d.v2.png"]),
    ],
)
def test_a_line_takes_the_photograph_that_it_names(tmp_path: Path, line: str, taken: list[str]) -> None:
    for end, start in (("\r\n", "\ufeff"), ("\n", "")):
        (tmp_path / "list.txt").write_bytes((start + line + end).encode())
        selection = source_check.match_list(PATHS, str(tmp_path / "list.txt"))
        assert sorted(selection.taken) == taken
        assert [*selection.missing, *selection.undecided, *selection.no_names] == []


@pytest.mark.parametrize(
    "line",
    [
        "001.jpg",
        "cy/001.jpg",
        "photo 1.jpg",
        "a 12.jpg",
        "a12.jpg",
        "Photo 3.jpg",
        "my.jpg 2.jpg",
        "写真三.jpg",
        "x/c",
        "a_1.jpg",
    ],
)
def test_a_line_takes_nobody_elses(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(f"a_12.jpg\n{line}\n")
    selection = source_check.match_list(PATHS, str(tmp_path / "list.txt"))
    assert selection.taken == {"a_12.jpg"}
    assert [*selection.missing, *selection.undecided, *selection.no_names] == [line]


def test_what_the_folder_lacks_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entries = [Entry(path, 1, 1) for path in PATHS]
    listing = tmp_path / "list.txt"
    listing.write_text("image_name item_id\n# the good ones\na_12.jpg id_1\nnowhere.jpg id_2\n001.jpg\n")
    assert [entry.path for entry in source_check.select_listed(entries, str(listing))] == ["a_12.jpg"]
    assert "1 names on" in caplog.text
    assert "no photograph in the folder: nowhere.jpg" in caplog.text
    assert "may mean several photographs each; give their folders: 001.jpg" in caplog.text
    assert "name no picture: image_name item_id" in caplog.text
    assert "good ones" not in caplog.text
    listing.write_text("nowhere.jpg\n")
    with pytest.raises(UserError, match="none of the 1 names"):
        source_check.select_listed(entries, str(listing))
    listing.write_text("/data/anna/walk.jpg\n/data/ben/walk.jpg\nrun.jpg\n")
    selection = source_check.match_list(["walk.jpg", "run.jpg"], str(listing))
    assert selection.taken == {"run.jpg"}
    assert len(selection.undecided) == 2


def test_a_kept_listing_knows_all_photographs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A shard's listing is a part: what another shard has is not missing, and a name of two photographs takes neither."""
    for number, name in enumerate(["anna/001.jpg", "ben/001.jpg", "a.jpg", "b.jpg"]):
        (tmp_path / "photos" / name).parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(np.full((90, 90, 3), 40 * number, np.uint8)).save(tmp_path / "photos" / name)
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n001.jpg\n")
    settings = Photos(include=str(tmp_path / "list.txt"), shards=4, min_side=16)
    cache_listing(tmp_path / "photos", 4, tmp_path / "cache")
    everything = [entry for k in range(4) for entry in read_listing(listing_table(tmp_path / "cache", k))]
    found = []
    for shard in range(4):
        listing = listing_table(tmp_path / "cache", shard)
        found += [row["path"] for row in photos_of_shard(tmp_path / "photos", shard, settings, listing)]
    assert sorted(found) == ["a.jpg", "b.jpg"]
    assert len({entry.path for entry in everything}) == 4
    assert "no photograph in the folder" not in caplog.text


@pytest.mark.parametrize(
    "text", ["{bad", '{"labels": 3}', '{"labels": null}', "[]", "{}", '{"labels": [[1, 2]]}', '{"labels": ', "\n", "#"]
)
def test_what_is_no_list_is_told(tmp_path: Path, text: str) -> None:
    for name in ("list.txt", "list.json"):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=r"photos\.include"):
            source_check.select_listed([Entry("a.jpg", 1, 1)], str(tmp_path / name))
    (tmp_path / "wide.txt").write_bytes("a.jpg\n".encode("utf-16"))
    with pytest.raises(UserError, match="UTF-8"):
        source_check.select_listed([Entry("a.jpg", 1, 1)], str(tmp_path / "wide.txt"))
