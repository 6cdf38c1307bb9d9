"""Mattes and normal maps that were made elsewhere."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ag3d.core.errors import UserError
from ag3d.core.shards import save_png
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
