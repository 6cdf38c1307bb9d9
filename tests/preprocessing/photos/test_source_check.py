"""What is missing of DeepFashion and UBC Fashion is said before anything runs on them."""

from __future__ import annotations

import json
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.core.errors import UserError
from ag3d.preprocessing.photos import source_check


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
