from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from support.bad_photos import EXIF_ORIENTATION, STORED

from ag3d.preprocessing.photos.read_image import PhotoError, read_photo


@pytest.fixture
def picture() -> np.ndarray:
    """Smooth colours, different in every corner, [60,90,3]."""
    y, x = np.mgrid[0:60, 0:90]
    return np.stack([x * 2 + 30, y * 3 + 40, 200 - x - y], axis=-1).astype(np.uint8)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif", "a.bmp", "a.jpg", "png named.jpg"])
def test_formats(tmp_path: Path, picture: np.ndarray, name: str) -> None:
    kind = "PNG" if name.startswith("png") else None
    Image.fromarray(picture).save(tmp_path / name, kind, quality=95)
    photo = read_photo(tmp_path / name)
    assert photo.rgb.dtype == np.uint8
    assert photo.alpha is None
    assert photo.scale == 1
    assert difference(photo.rgb, picture) < 3


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("max_pixels", [10_000, 600])
def test_exif_orientations_are_upright(tmp_path: Path, picture: np.ndarray, turn: int, max_pixels: int) -> None:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = turn
    Image.fromarray(np.ascontiguousarray(STORED[turn](picture))).save(tmp_path / "a.jpg", quality=95, exif=exif)
    photo = read_photo(tmp_path / "a.jpg", max_pixels)
    assert photo.file_size == (90, 60)
    height, width = photo.rgb.shape[:2]
    assert difference(photo.rgb, cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)) < 6


def test_other_modes_become_rgb(tmp_path: Path, picture: np.ndarray) -> None:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    as_grey = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(picture).quantize(256).save(tmp_path / "palette.png")
    cv2.imwrite(str(tmp_path / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "deep grey.png"), grey.astype(np.uint16) * 257)
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    for name, truth, slack in (
        ("cmyk.jpg", picture, 8),
        ("grey.png", as_grey, 0),
        ("palette.png", picture, 6),
        ("deep.png", picture, 1),
        ("deep grey.png", as_grey, 1),
        ("float.tif", as_grey, 1),
    ):
        assert difference(read_photo(tmp_path / name).rgb, truth) <= slack, name


def test_alpha_is_kept_and_lies_on_white(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.full(picture.shape[:2], 255, np.uint8)
    alpha[:, :30], alpha[:, 30:40] = 0, 128
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert (photo.rgb[:, :30] == 255).all()
    assert (photo.rgb[:, 40:] == picture[:, 40:]).all()
    assert difference(photo.rgb[:, 30:40], (picture[:, 30:40].astype(int) + 255) // 2) < 2
    assert photo.alpha is not None
    assert (photo.alpha == alpha).all()


def test_opaque_alpha_counts_as_none(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").alpha is None


def test_large_photographs_are_reduced(tmp_path: Path, picture: np.ndarray) -> None:
    large = cv2.resize(picture, (2700, 1800))
    for name in ("a.jpg", "a.png"):
        Image.fromarray(large).save(tmp_path / name)
        photo = read_photo(tmp_path / name, max_pixels=100_000)
        height, width = photo.rgb.shape[:2]
        assert 95_000 < height * width <= 100_000
        assert photo.scale == pytest.approx(width / 2700)
        assert difference(photo.rgb, cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)) < 2


def test_colour_profiles_are_converted(tmp_path: Path) -> None:
    """A profile like sRGB's with red and green exchanged shows exchanged colours."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    Image.new("RGB", (32, 32), (160, 90, 60)).save(tmp_path / "a.png", icc_profile=swapped)
    assert np.abs(read_photo(tmp_path / "a.png").rgb.astype(int) - (90, 160, 60)).max() <= 3


@pytest.mark.parametrize("profile", ["sRGB", "LAB", "broken"])
def test_profiles_that_change_nothing(tmp_path: Path, profile: str) -> None:
    data = b"nonsense"
    if profile != "broken":
        data = ImageCms.ImageCmsProfile(ImageCms.createProfile(profile)).tobytes()
    Image.new("RGB", (32, 32), (120, 90, 60)).save(tmp_path / "a.png", icc_profile=data)
    assert (read_photo(tmp_path / "a.png").rgb == (120, 90, 60)).all()


def test_unusable_files_say_why(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    cases = {
        "cut.jpg": (data[: len(data) // 2], "damaged"),
        "text.jpg": (b"hello", "not an image"),
        "no.jpg": (b"", "empty"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PhotoError, match=reason):
            read_photo(tmp_path / name)
    with pytest.raises(PhotoError, match="missing"):
        read_photo(tmp_path / "nowhere.jpg")
    with pytest.raises(PhotoError, match="shorter side") as caught:
        read_photo(tmp_path / "whole.jpg", min_side=61)
    assert caught.value.value == 60


@settings(max_examples=60, deadline=None)
@given(place=st.integers(2, 700), values=st.binary(min_size=1, max_size=20))
def test_damage_never_escapes(tmp_path_factory: pytest.TempPathFactory, place: int, values: bytes) -> None:
    """Whatever bytes of a JPEG are overwritten, it is read or refused, never anything else."""
    path = tmp_path_factory.mktemp("damage") / "a.jpg"
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    Image.fromarray(np.arange(40 * 40 * 3, dtype=np.uint8).reshape(40, 40, 3)).save(path, exif=exif)
    data = bytearray(path.read_bytes())
    data[place : place + len(values)] = values
    path.write_bytes(data)
    photo = None
    with contextlib.suppress(PhotoError):
        photo = read_photo(path, max_pixels=1_000_000)
    assert photo is None or (photo.rgb.ndim == 3 and photo.rgb.size <= 3_000_000)
