"""A folder of every kind of photograph that people have and pipelines stumble over, with what is to become of each."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

OK = ""  # expected: reaches the end
EXIF_ORIENTATION = 0x0112
# how the upright picture is stored so that EXIF orientation k shows it upright
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}


def write_bad_photos(
    folder: Path, person: np.ndarray, mask: np.ndarray, nobody: np.ndarray, huge: int = 12_000
) -> dict[str, tuple[str, str]]:
    """Fill `folder`. `person`: uint8 [H,W,3], one person in full view, feet in the lowest quarter; `mask`: bool [H,W]
    of them; `nobody`: a picture without people; `huge`: the long side of the largest picture.

    Returns, for every file that must be accounted for, by relative path: the stage that rejects it and a pattern of the
    reason, or OK twice.
    """
    expected: dict[str, tuple[str, str]] = {}

    def add(name: str, stage: str = OK, reason: str = OK) -> Path:
        expected[name] = (stage, reason)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    picture = Image.fromarray(person)
    picture.save(add("plain.jpg"), quality=92)
    _formats(picture, person, mask, add)
    for turn, store in STORED.items():
        exif = Image.Exif()
        exif[EXIF_ORIENTATION] = turn
        stored = Image.fromarray(np.ascontiguousarray(store(person)))
        stored.save(add(f"turned/exif {turn}.jpg"), quality=92 - turn, exif=exif)
    height, width = person.shape[:2]
    size = (huge, huge * width // height) if width > height else (huge * width // height, huge)
    picture.resize(size, Image.Resampling.BILINEAR).save(add("huge.jpg"), quality=70)
    # names
    for number, name in enumerate(
        ("a b  c.jpg", "großmutter 写真 № 1.jpg", "one/same.jpg", "two/same.jpg", "img_img.JPG")
    ):
        picture.save(add(name), quality=80 - number)
    # copies
    picture.save(add("copies/first.jpg"), quality=60)
    add("copies/second.jpg", "photos", r"duplicate of copies/first\.jpg").write_bytes(
        (folder / "copies/first.jpg").read_bytes()
    )
    _broken(folder, picture, add)
    # people
    Image.fromarray(nobody).save(add("people/nobody.jpg", "people", "no person"), quality=90)
    rows = np.flatnonzero(mask.any(axis=1))
    knees = rows[0] + int(0.72 * (rows[-1] - rows[0]))
    picture.crop((0, 0, width, knees)).save(add("people/cut at the knees.jpg", "people", "not in full view"))
    small = cv2.resize(person, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA)
    far = np.full_like(person, 128)
    far[: small.shape[0], : small.shape[1]] = small
    Image.fromarray(far).save(add("people/far away.jpg", "people", "no person|pixels tall"), quality=90)
    _several(person, mask, nobody, add)
    # not photographs: passed over, not listed
    (folder / "notes.txt").write_text("nothing to see")
    (folder / ".hidden.jpg").write_text("hidden")
    return expected


def _formats(picture: Image.Image, person: np.ndarray, mask: np.ndarray, add) -> None:
    picture.convert("CMYK").save(add("formats/cmyk.jpg"), quality=92)
    picture.convert("L").save(add("formats/grey.jpg"), quality=92)
    picture.quantize(200).save(add("formats/palette.png"))
    picture.save(add("formats/progressive.jpg"), progressive=True, quality=91)
    picture.save(add("formats/lossy.webp"), quality=90)
    picture.save(add("formats/tiff.tif"), compression="tiff_lzw")
    picture.save(add("formats/bitmap.bmp"))
    picture.save(add("formats/a png.jpg"), format="PNG")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(add("formats/profile.jpg"), icc_profile=profile, quality=89)
    picture.save(add("formats/broken profile.jpg"), icc_profile=b"not a profile at all", quality=88)
    deep = person.astype(np.uint16) * 257
    assert cv2.imwrite(os.fspath(add("formats/16 bit.png")), deep[..., ::-1])
    assert cv2.imwrite(os.fspath(add("formats/16 bit grey.png")), cv2.cvtColor(deep, cv2.COLOR_RGB2GRAY))
    alpha = Image.fromarray(np.where(mask, 255, 0).astype(np.uint8))
    with_alpha = picture.copy()
    with_alpha.putalpha(alpha)
    with_alpha.save(add("formats/alpha.png"))
    with_alpha.save(add("formats/alpha.webp"), lossless=True)


def _broken(folder: Path, picture: Image.Image, add) -> None:
    whole = (folder / "plain.jpg").read_bytes()
    add("broken/truncated.jpg", "photos", "damaged").write_bytes(whole[: len(whole) // 2])
    add("broken/header only.jpg", "photos", "damaged|not an image").write_bytes(whole[:300])
    add("broken/text.jpg", "photos", "not an image").write_text("this is no photograph\n")
    add("broken/empty.jpg", "photos", "empty").write_bytes(b"")
    picture.save(folder / "broken" / "whole.png")
    data = (folder / "broken" / "whole.png").read_bytes()
    (folder / "broken" / "whole.png").unlink()
    add("broken/truncated.png", "photos", "damaged").write_bytes(data[: len(data) // 2])
    picture.resize((20, 20)).save(add("broken/tiny.png", "photos", "shorter side"))
    add("broken/bomb.png", "photos", "million pixels").write_bytes(_png_header(100_000, 100_000))
    add("broken/heic.heic", "photos", "HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    os.symlink("nowhere.jpg", add("broken/dangling.jpg", "photos", "cannot be read"))


def _several(person: np.ndarray, mask: np.ndarray, nobody: np.ndarray, add) -> None:
    """Two people apart: the main one goes on. Two who cover each other: rejected."""
    height, width = person.shape[:2]
    columns = np.flatnonzero(mask.any(axis=0))
    wide = cv2.resize(nobody, (2 * width, height))
    apart, close = wide.copy(), wide.copy()
    reach = (columns[-1] - columns[0]) // 3
    for canvas, shift in ((apart, width - columns[0] // 2), (close, width // 2 + reach)):
        start = 0 if canvas is apart else width // 2
        for left in (start, shift):
            part = canvas[:, left : left + width]
            shown = mask[:, : part.shape[1]]
            part[shown] = person[:, : part.shape[1]][shown]
    Image.fromarray(apart).save(add("people/two apart.jpg"), quality=92)
    Image.fromarray(close).save(add("people/two together.jpg", "people", "several people"), quality=92)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
