"""Pictures as they look: turned once, in sRGB, of every name that cameras write, and never too much memory."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image, ImageCms
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.preprocessing.photos.read_image import MAX_COSTLY_PIXELS, RAW_SUFFIXES, PhotoError, read_photo

UPRIGHT = np.full((60, 90, 3), 40, np.uint8)
UPRIGHT[:20, :30] = (230, 20, 20)  # top left
UPRIGHT[:20, 60:] = (20, 230, 20)
# What a camera stores so that the picture is upright once it is turned as the orientation says.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG", "WEBP", "AVIF", "MPO"])
@pytest.mark.parametrize("max_pixels", [10**7, 2000])
def test_pictures_are_turned_once(tmp_path: Path, kind: str, orientation: int, max_pixels: int) -> None:
    picture = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    more = {"save_all": True, "append_images": [picture]} if kind == "MPO" else {}
    picture.save(tmp_path / "a", kind, exif=exif, quality=95, **more)
    photo = read_photo(tmp_path / "a", max_pixels)
    assert photo.file_size == (90, 60)
    height, width = photo.rgb.shape[:2]
    assert abs(width / height - 1.5) < 0.05
    corners = photo.rgb[height // 6, [width // 6, -width // 6]].astype(int)
    assert np.abs(corners - [(230, 20, 20), (20, 230, 20)]).max() < 30


@pytest.mark.parametrize("name", ["a.jfif", "a.JPE", "a.pjpeg", "a.mpo", "a.gif", "a.Png", "a.heif", "a.hif", "a.apng"])
def test_names_that_programs_write(tmp_path: Path, name: str) -> None:
    """The content decides; a picture of such a name is one."""
    kind = {"gif": "GIF", "Png": "PNG", "apng": "PNG"}.get(name.split(".")[1], "JPEG")
    Image.fromarray(UPRIGHT).resize((180, 120)).save(tmp_path / name, kind)
    table = manifest_table(tmp_path, 0, Photos(shards=1, min_side=64))
    assert list(table["status"]) == ["ok"]


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1", b"hevc"])
@pytest.mark.parametrize("name", ["f.heic", "f.heif", "f.hif", "f.jpg"])
def test_heic_is_told(tmp_path: Path, brand: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100))
    table = manifest_table(tmp_path, 0, Photos(shards=1))
    assert table["reason"][0] == "HEIC is not supported; convert it to JPEG or PNG"


def test_avif_of_another_major_brand(tmp_path: Path) -> None:
    Image.fromarray(UPRIGHT).save(tmp_path / "a.avif")
    data = bytearray((tmp_path / "a.avif").read_bytes())
    assert b"avif" in data[16:32]
    data[8:12] = b"mif1"
    (tmp_path / "a.avif").write_bytes(data)
    assert read_photo(tmp_path / "a.avif").file_size == (90, 60)


@pytest.mark.parametrize("suffix", [".dng", ".NEF", ".cr3", ".jxl"])
def test_raw_pictures_are_told_and_their_small_pictures_not_taken(tmp_path: Path, suffix: str) -> None:
    assert suffix.lower() in RAW_SUFFIXES
    Image.fromarray(UPRIGHT).save(tmp_path / f"a{suffix}", "TIFF")
    table = manifest_table(tmp_path, 0, Photos(shards=1))
    assert "raw format is not supported" in table["reason"][0]


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of grey with this gamma, by its parts (ICC.1:2001)."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big") + bytes(2)
    white = b"XYZ " + bytes(4) + b"".join(round(v * 65536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249))
    name = b"desc" + bytes(4) + (5).to_bytes(4, "big") + b"grey\0" + bytes(78 + 3)
    parts, tags, offset = b"", b"", 128 + 4 + 3 * 12
    for signature, data in ((b"kTRC", curve), (b"wtpt", white), (b"desc", name)):
        tags += signature + (offset + len(parts)).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        parts += data + bytes(-len(data) % 4)
    body = (3).to_bytes(4, "big") + tags + parts
    head = (128 + len(body)).to_bytes(4, "big") + bytes(4) + bytes.fromhex("02100000") + b"mntrGRAYXYZ " + bytes(12)
    head += b"acsp" + bytes(28) + b"".join(round(v * 65536).to_bytes(4, "big") for v in (0.9642, 1.0, 0.8249))
    return head + bytes(128 - len(head)) + body


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_profiles_count(tmp_path: Path, mode: str) -> None:
    grey = Image.new("L", (20, 20), 100)
    if mode == "LA":
        grey.putalpha(Image.new("L", (20, 20), 128))
    grey.save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    linear = 100 / 255
    srgb = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    shown = float(read_photo(tmp_path / "a.png").rgb.mean())
    expected = srgb if mode == "L" else 255 + (srgb - 255) * 128 / 255
    assert abs(shown - expected) < 3


def test_lab_pictures(tmp_path: Path) -> None:
    lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    ImageCms.applyTransform(Image.fromarray(UPRIGHT), lab).save(tmp_path / "a.tif")
    assert np.abs(read_photo(tmp_path / "a.tif").rgb.astype(int) - UPRIGHT).max() < 12


@pytest.mark.parametrize("mode", ["L", "I;16", "1"])
def test_the_largest_pictures_in_little_memory(tmp_path: Path, mode: str) -> None:
    """195 million pixels, in a format whose size Pillow looks at once more as it decodes."""
    width, height = 13_000, 15_000
    stored = np.zeros((height, width), np.uint16 if mode == "I;16" else np.uint8)
    stored[:, 6500:] = 65535 if mode == "I;16" else 255
    picture = Image.fromarray(stored).convert("1") if mode == "1" else Image.fromarray(stored)
    picture.save(tmp_path / "a.tif", compression="tiff_lzw" if mode != "1" else "group4")
    del stored, picture
    before = psutil.Process().memory_info().rss
    photo = read_photo(tmp_path / "a.tif", 1_000_000)
    assert photo.file_size == (width, height)
    assert photo.rgb[:, :400].max() <= 1
    assert photo.rgb[:, -400:].min() >= 254
    assert psutil.Process().memory_info().rss - before < 2**31


def test_transparent_pictures_have_a_limit_of_their_own(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("P", (MAX_COSTLY_PIXELS // 5000 + 1, 5000)).save(buffer, "PNG", transparency=b"\0\x80")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    with pytest.raises(PhotoError, match="100 million pixels with transparency"):
        read_photo(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pictures_of_32_bits_have_that_limit_too(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (MAX_COSTLY_PIXELS // 10_000 + 1, 10_000)).save(tmp_path / "a.tif", compression="tiff_lzw")
    with pytest.raises(PhotoError, match="of 32 bits"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.timeout(30)
def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    Image.fromarray(UPRIGHT).resize((900, 600)).save(tmp_path / "good.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("zero.jpg", "zero.mp4", "also.png"):
        (tmp_path / name).symlink_to("/dev/zero")
    (tmp_path / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "memory.jpg").symlink_to("/proc/self/mem")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(tmp_path / "socket.jpg"))
    table = manifest_table(tmp_path, 0, Photos(shards=1)).set_index("path")
    bound.close()
    assert table.loc["good.jpg", "status"] == "ok"
    assert (table.drop("good.jpg")["status"] == "rejected").all()
    assert len(table) == 10
    assert "pipe" in table.loc["pipe.mp4", "reason"]
    assert "device" in table.loc["zero.jpg", "reason"]
    assert "socket" in table.loc["socket.jpg", "reason"]
