"""Read a photograph as people see it: upright, 8-bit sRGB, never larger than asked for, or a reason why it cannot be."""

from __future__ import annotations

import io
import os
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from ag3d.core.bounded import open_regular
from ag3d.core.errors import UserError
from ag3d.core.files import sha256

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")
SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".pjpeg",
        ".pjp",
        ".mpo",
        ".png",
        ".apng",
        ".webp",
        ".gif",
        ".tif",
        ".tiff",
        ".bmp",
        ".avif",
        ".avifs",
        ".heic",
        ".heif",
        ".hif",
    ]
)
# What cameras write beside pictures: listed, so that it is told why they are left out.
RAW_SUFFIXES = frozenset(
    [
        ".dng",
        ".cr2",
        ".cr3",
        ".crw",
        ".nef",
        ".nrw",
        ".arw",
        ".srf",
        ".sr2",
        ".raf",
        ".orf",
        ".rw2",
        ".pef",
        ".srw",
        ".x3f",
        ".3fr",
        ".iiq",
        ".jxl",
        ".jp2",
    ]
)
MAX_FILE_PIXELS = 200_000_000  # the largest cameras; decoding more would take gigabytes
MAX_COSTLY_PIXELS = 100_000_000  # with transparency, or 32 bits: several times the memory
Image.MAX_IMAGE_PIXELS = MAX_FILE_PIXELS  # Pillow refuses twice this; _read refuses the rest
_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class PhotoError(ValueError):
    """A photograph that cannot be used: `reason` in words, and the measured `value` if there is one."""

    def __init__(self, reason: str, value: float | None = None) -> None:
        super().__init__(reason if value is None else f"{reason} ({value:g})")
        self.reason = reason
        self.value = value


@dataclass(frozen=True)
class Photo:
    """A photograph in memory. Pixel centres lie at k + 0.5."""

    rgb: np.ndarray  # uint8 [H,W,3], on white where the file is transparent
    alpha: np.ndarray | None  # uint8 [H,W]; None where the file is opaque throughout
    file_size: tuple[int, int]  # width and height of the upright photograph in the file

    @staticmethod
    def of_frame(rgb: np.ndarray, max_pixels: int = 16_000_000, min_side: int = 1) -> Photo:
        """A frame of a video (uint8 [H,W,3]) as a photograph. Raises PhotoError where it is too small."""
        height, width = rgb.shape[:2]
        if min(width, height) < min_side:
            raise PhotoError(f"the shorter side is below {min_side} pixels", min(width, height))
        target = _reduced_size(width, height, max_pixels)
        if target != (width, height):
            rgb = np.array(Image.fromarray(rgb).resize(target, Image.Resampling.BOX))
        return Photo(rgb, None, (width, height))

    @property
    def scale(self) -> float:
        """Pixels of `rgb` per pixel of the file."""
        return self.rgb.shape[1] / self.file_size[0]


def read_photo(path: str | os.PathLike[str], max_pixels: int = 16_000_000, min_side: int = 1) -> Photo:
    """Read the photograph at `path`, reduced to at most `max_pixels` pixels. The content decides the format, not the name.

    Raises PhotoError: unreadable, unsupported, damaged, shorter side below `min_side`, or absurdly large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata; what counts is whether the pixels decode
            with open_file(path) as handle:
                if os.path.splitext(path)[1].lower() in RAW_SUFFIXES:
                    raise PhotoError("a camera's raw format is not supported; develop it to JPEG, PNG or TIFF")
                with _open(handle) as image:
                    return _read(image, max_pixels, min_side)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("too large for this machine's memory") from error
    except Exception as error:  # decoders raise anything on damaged data
        raise PhotoError(f"damaged image: {one_line(error)}") from error


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """The file of a photograph or video. Raises PhotoError where it is missing, or none that can be read."""
    if not os.path.exists(path):
        raise PhotoError("the file is missing")
    try:
        return open_regular(path)
    except UserError as error:
        raise PhotoError(f"the file cannot be read: {one_line(error)}") from error


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a photograph's file. Raises PhotoError where it is no file that can be read."""
    try:
        return sha256(path)
    except (OSError, UserError) as error:
        raise PhotoError(f"the file cannot be read: {getattr(error, 'strerror', error)}") from error


def _open(handle: Any) -> Image.Image:
    start = handle.read(1024)
    if not start:
        raise PhotoError("the file is empty")
    if start[4:8] == b"ftyp":
        brands = start[8 : int.from_bytes(start[:4], "big")]
        if not {b"avif", b"avis"} & {brands[k : k + 4] for k in range(0, len(brands), 4)}:
            raise PhotoError("HEIC is not supported; convert it to JPEG or PNG")
    handle.seek(0)
    try:
        return Image.open(handle, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise PhotoError(f"the file claims more than {MAX_FILE_PIXELS / 1e6:.0f} million pixels") from error
    except UnidentifiedImageError as error:
        raise PhotoError("not an image, or of a kind that is not supported") from error


def _read(image: Image.Image, max_pixels: int, min_side: int) -> Photo:
    width, height = image.size
    if width * height > MAX_FILE_PIXELS:
        raise PhotoError(f"the file claims more than {MAX_FILE_PIXELS / 1e6:.0f} million pixels", width * height / 1e6)
    if min(width, height) < min_side:
        raise PhotoError(f"the shorter side is below {min_side} pixels", min(width, height))
    if (image.has_transparency_data or image.mode in ("I", "F")) and width * height > MAX_COSTLY_PIXELS:
        limit = f"{MAX_COSTLY_PIXELS / 1e6:.0f} million pixels with transparency or of 32 bits"
        raise PhotoError(f"the file claims more than {limit}", width * height / 1e6)
    profile = image.info.get("icc_profile")
    target = _reduced_size(width, height, max_pixels)
    if target != (width, height):
        image.draft(None, target)  # JPEG decodes at 1/2, 1/4 or 1/8 without holding the whole
    image.load()
    orientation = _orientation(image)  # now: some of Pillow's readers turn the picture as they load it
    if image.format == "TIFF" and image.size == (height, width):
        width, height, target = height, width, target[::-1]
    image = _eight_bit(image)
    if image.size != target:
        image = image.resize(target, Image.Resampling.BOX, reducing_gap=None)
    image, alpha = _split_alpha(_to_srgb(image, profile))
    if orientation in _TRANSPOSES:
        image = image.transpose(_TRANSPOSES[orientation])
        alpha = alpha.transpose(_TRANSPOSES[orientation]) if alpha is not None else None
        if orientation >= 5:
            width, height = height, width
    return Photo(np.array(image), None if alpha is None else np.array(alpha), (width, height))


def _reduced_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    if width * height <= max_pixels:
        return width, height
    factor = (max_pixels / (width * height)) ** 0.5
    return max(1, int(width * factor)), max(1, int(height * factor))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8; damaged EXIF counts as none."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # any parse error; the pixels may still be fine
        return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey, palette, 16- and 32-bit images as L, LA, RGB, RGBA or CMYK."""
    if image.mode.startswith("I") or image.mode == "F":
        stored = np.asarray(image)
        top = float(stored.max(initial=0))
        if not np.isfinite(top):
            raise PhotoError("damaged image: its values are not finite")
        full = 1.0 if image.mode == "F" and top <= 1 else 255.0 if top <= 255 else 65535.0
        grey = np.empty(stored.shape, np.uint8)
        for rows in range(0, len(stored), 1024):  # a part at a time, for the memory
            values = stored[rows : rows + 1024].astype(np.float32)
            grey[rows : rows + 1024] = np.clip(values * (255 / full) + 0.5, 0, 255)
        return Image.fromarray(grey)
    if image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        return image.convert("RGBA")
    return image if image.mode in ("L", "LA", "RGB", "RGBA", "CMYK", "LAB") else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Colours of another profile (Adobe RGB, Display P3, a CMYK press, a printer's grey) as sRGB; a broken profile is passed
    over."""
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _from_lab()) or image
    if not profile:
        return image
    if image.mode == "LA":
        colours = _to_srgb(image.getchannel("L"), profile).convert("RGB")
        colours.putalpha(image.getchannel("A"))
        return colours
    try:
        transform = _transform(profile, image.mode)
        return image if transform is None else ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


@cache
def _from_lab() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if mode in ("RGB", "RGBA") and "srgb" in ImageCms.getProfileDescription(source).lower():
        return None
    output = "RGBA" if mode == "RGBA" else "RGB"
    return ImageCms.buildTransform(source, _srgb(), mode, output, ImageCms.Intent.PERCEPTUAL)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """RGB on white, and alpha where any pixel is transparent."""
    if image.mode not in ("LA", "RGBA"):
        return image.convert("RGB"), None
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == 255:
        return image.convert("RGB"), None
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image.convert("RGB"), mask=alpha)
    return white, alpha


def one_line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
