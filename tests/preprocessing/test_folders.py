"""Mattes and normal maps that were made elsewhere."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ag3d.core.errors import UserError
from ag3d.core.shards import save_png
from ag3d.preprocessing.matching import Photographs
from ag3d.preprocessing.matting.backends import FolderBackend as MatteFolder
from ag3d.preprocessing.matting.stage import matte
from ag3d.preprocessing.normals.backends import FolderBackend as NormalFolder
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.read_image import Photo, PhotoError


def test_mattes_by_place_or_name_in_any_form(tmp_path: Path) -> None:
    grey = np.zeros((60, 40), np.uint8)
    grey[10:50, 10:30] = 255
    save_png(tmp_path / "a" / "one.png", grey)
    save_png(tmp_path / "two.jpg.png", np.dstack([grey, grey, grey]))
    save_png(tmp_path / "three.png", np.dstack([0 * grey, 0 * grey, 0 * grey, grey]))
    folder = MatteFolder(str(tmp_path))
    for path in ("a/one.jpg", "b/two.jpg", "three.webp"):
        np.testing.assert_array_equal(folder.alpha(path, (40, 60)), grey)
    half = folder.alpha("three.png", (20, 30))
    assert half.shape == (30, 20)
    photo = Photo.of_frame(np.full((60, 40, 3), 90, np.uint8), 10**6)
    joints = np.array([[20.0, 30.0]])
    found = matte(photo, RotatedBox(20, 30, 60), joints, folder, "a/one.jpg")
    assert (found > 127).sum() == 40 * 20


def test_mattes_that_do_not_fit_are_told(tmp_path: Path) -> None:
    save_png(tmp_path / "one.png", np.zeros((60, 60), np.uint8))
    folder = MatteFolder(str(tmp_path))
    with pytest.raises(PhotoError, match="other proportions"):
        folder.alpha("one.jpg", (40, 60))
    with pytest.raises(PhotoError, match="no matte of its name"):
        folder.alpha("two.jpg", (40, 60))
    for name, kind in (("", MatteFolder), ("/nowhere", NormalFolder)):
        with pytest.raises(UserError, match=r"\.folder'"):
            kind(name)


def test_normal_maps_at_any_size(tmp_path: Path) -> None:
    vectors = np.zeros((32, 32, 3))
    vectors[..., 0], vectors[..., 2] = 0.6, 0.8
    save_png(tmp_path / "a-1.png", np.rint(127.5 * (vectors + 1)).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "b-2.png"), np.zeros((10, 20, 3), np.uint8))
    folder = NormalFolder(str(tmp_path))
    for side in (16, 32, 64):
        found = folder.normals("a-1", side)
        assert found.shape == (side, side, 3)
        np.testing.assert_allclose(found, np.broadcast_to([0.6, 0, 0.8], found.shape), atol=0.01)
    with pytest.raises(ValueError, match="not square"):
        folder.normals("b-2", 16)
    with pytest.raises(ValueError, match="no normal map"):
        folder.normals("c-3", 16)


SIZE = (40, 60)
NAMES = ["001", "anna/002", "ben/002", "id_1/01_1_front", "a_12", "a_1_2", "Photo 1", "写真 一", "é", "up"]


def level(number: int) -> np.ndarray:
    return np.full((60, 40), 10 + number, np.uint8)


@pytest.mark.parametrize("known", [False, True])
def test_nobody_takes_anothers_matte(tmp_path: Path, known: bool) -> None:
    for number, name in enumerate(NAMES):
        save_png(tmp_path / f"{unicodedata.normalize('NFD', name)}.png", level(number))
    (tmp_path / "up.png").rename(tmp_path / "up.PNG")
    paths = [f"{name}.jpg" for name in NAMES]
    photographs = Photographs([*paths, "cy/002.jpg", "id_3/01_1_front.jpg", "Photo 2.jpg"]) if known else None
    folder = MatteFolder(str(tmp_path), photographs)
    for number, path in enumerate(paths):
        np.testing.assert_array_equal(folder.alpha(path, SIZE), level(number))
    for path in ("cy/002.jpg", "002.jpg", "id_3/01_1_front.jpg", "Photo 2.jpg", "PHOTO 1.jpg", "a12.jpg"):
        with pytest.raises(PhotoError, match="no matte of its name"):
            folder.alpha(path, SIZE)


def test_a_matte_that_may_be_of_two_is_of_none(tmp_path: Path) -> None:
    for number, name in enumerate(["walk", "a", "b.jpg", "run", "anna/run"]):
        save_png(tmp_path / f"{name}.png", level(number))
    paths = [
        "anna/walk.jpg",
        "ben/walk.jpg",
        "a.jpg",
        "a.tif",
        "b.jpg",
        "b.tif",
        "run.jpg",
        "anna/run.jpg",
        "cy/run.jpg",
    ]
    folder = MatteFolder(str(tmp_path), Photographs(paths))
    for path, other in (("anna/walk.jpg", "ben/walk.jpg"), ("a.tif", "a.jpg")):
        with pytest.raises(PhotoError, match=f"may be of {other} as well"):
            folder.alpha(path, SIZE)
    for path, number in (("b.jpg", 2), ("run.jpg", 3), ("anna/run.jpg", 4)):
        np.testing.assert_array_equal(folder.alpha(path, SIZE), level(number))
    for path in ("b.tif", "cy/run.jpg"):
        with pytest.raises(PhotoError, match="no matte of its name"):
            folder.alpha(path, SIZE)


def test_mattes_of_all_kinds_are_one(tmp_path: Path) -> None:
    """An alpha channel that is opaque everywhere says nothing: the matte is in the colours."""
    grey = np.zeros((60, 40), np.uint8)
    grey[10:50, 10:30] = 255
    opaque = np.full_like(grey, 255)
    save_png(tmp_path / "rgba.png", np.dstack([grey, grey, grey, opaque]))
    Image.fromarray(np.dstack([grey, opaque]), "LA").save(tmp_path / "la.png")
    Image.fromarray(grey).convert("1").save(tmp_path / "one.tif")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([opaque, opaque, opaque, grey])).save(tmp_path / "cut.webp", lossless=True, exact=True)
    folder = MatteFolder(str(tmp_path))
    for file in sorted(os.listdir(tmp_path)):
        np.testing.assert_array_equal(folder.alpha(Path(file).stem + ".jpg", SIZE), grey, err_msg=file)


def test_what_is_no_picture_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.PNG").write_text("no picture")
    save_png(tmp_path / "x.png", level(0))
    huge = bytearray((tmp_path / "x.png").read_bytes())
    huge[16:24] = (60_000).to_bytes(4, "big") + (80_000).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(huge)
    for name in ("pipe", "zero", "gone", "empty", "text", "huge"):
        with pytest.raises(PhotoError, match=f"its matte is no readable picture: .*{name}"):
            MatteFolder(str(tmp_path)).alpha(f"{name}.jpg", SIZE)
        with pytest.raises(ValueError, match=f"its normal map is no readable picture: .*{name}"):
            NormalFolder(str(tmp_path)).normals(name, 16)
    with pytest.raises(PhotoError, match="no matte"):
        MatteFolder(str(tmp_path)).alpha("folder.jpg", SIZE)


def test_normal_maps_are_of_exactly_their_person(tmp_path: Path) -> None:
    """In whatever case the ending is, with an alpha channel too; never of a folder of somebody else's."""
    vectors = np.full((16, 16, 3), (128, 128, 255), np.uint8)
    save_png(tmp_path / "a-1.PNG", np.dstack([vectors, vectors[..., :1]]))
    save_png(tmp_path / "more" / "b-1.png", vectors)
    save_png(tmp_path / "grey-1.png", vectors[..., 0])
    folder = NormalFolder(str(tmp_path))
    assert folder.normals("a-1", 8)[..., 2].min() > 0.99
    for person in ("b-1", "a_1", "A-1", "a-12"):
        with pytest.raises(ValueError, match="no normal map of its name"):
            folder.normals(person, 8)
    with pytest.raises(ValueError, match="is grey"):
        folder.normals("grey-1", 8)


def test_many_folders_with_equal_names_are_quick() -> None:
    """A name with a folder is compared with its like alone: DeepFashion has tens of thousands of `01_1_front.jpg`."""
    paths = [f"MEN/Denim/id_{number:08d}/01_1_front.jpg" for number in range(20_000)]
    photographs = Photographs(paths)
    start = time.process_time()
    assert all(photographs.named(path) == [path] for path in paths)
    assert time.process_time() - start < 10
    assert len(photographs.named("01_1_front.png")) == len(paths)
