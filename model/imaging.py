"""From network output to pictures, sheets and videos."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ag3d.core.errors import UserError
from ag3d.core.files import atomic
from ag3d.core.resize import resize

# One thread and no encoder banner: the same frames give the same bytes.
_ENCODING = (
    "-vcodec libx264 -pix_fmt yuv420p -crf 18 -preset medium -threads 1 "
    "-movflags +faststart -fflags +bitexact -flags:v +bitexact"
)
KINDS = ("image", "raw", "normal", "depth")


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """[B,C,H,W] in [-1,1] to uint8 [B,H,W,C]."""
    return (images.permute(0, 2, 3, 1) * 127.5 + 128).clamp(0, 255).byte().cpu().numpy()


def depth_picture(depth: torch.Tensor, opacity: torch.Tensor) -> np.ndarray:
    """Near is dark, the background white: depth, opacity [B,1,H,W] to uint8 [B,H,W,3]."""
    pictures = []
    for image, cover in zip(depth[:, 0], opacity[:, 0]):
        solid = cover > 0.5
        low, high = (image[solid].min(), image[solid].max()) if bool(solid.any()) else (image.min(), image.max())
        shade = 40 + 170 * (image - low) / (high - low).clamp_min(1e-6)
        pictures.append(torch.where(solid, shade, 255.0).clamp(0, 255))
    return torch.stack(pictures).byte().cpu().numpy()[..., None].repeat(3, axis=-1)


def pictures_of(out: dict[str, torch.Tensor], side: int) -> dict[str, np.ndarray]:
    """All kinds of pictures of a batch, uint8 [B,side,side,3] each."""
    kinds = {
        "image": to_uint8(out["image"]),
        "raw": to_uint8(out["image_raw"]),
        "normal": to_uint8(out["image_normal"]),
        "depth": depth_picture(out["image_depth"], out["opacity"]),
    }
    return {name: np.stack([resize_square(picture, side) for picture in batch]) for name, batch in kinds.items()}


def resize_square(picture: np.ndarray, side: int) -> np.ndarray:
    """A square picture at another size."""
    return resize(picture, (side, side), enlarge=cv2.INTER_CUBIC)


def grid(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Pictures of one size in rows."""
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """H.264 in MP4 that browsers play: frames uint8 [H,W,3] of one size, written as they come."""
    import imageio_ffmpeg  # here: training shows pictures too, and needs no ffmpeg

    iterator = iter(frames)
    first = next(iterator)
    height, width = (side + side % 2 for side in first.shape[:2])
    with atomic(path) as beside, tempfile.TemporaryFile() as said:
        source = f"-y -v error -f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {fps:.02f} -i - -an".split()
        target = [*_ENCODING.split(), f"file:{beside.resolve()}"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), *source, *target]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=said) as encoder:
            assert encoder.stdin is not None
            with suppress(BrokenPipeError):  # it has ended, and says why
                for frame in chain([first], iterator):
                    missing = ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0))
                    encoder.stdin.write(np.pad(frame, missing, mode="edge").tobytes())
                encoder.stdin.close()
        if encoder.returncode:
            said.seek(0)
            reason = said.read(1000).decode(errors="replace")
            if os.strerror(errno.ENOSPC) in reason:
                raise OSError(errno.ENOSPC, reason)
            raise UserError(f"{path} cannot be written: the encoder ended with {encoder.returncode}: {reason}")


def write_gif(path: str | Path, frames: Iterable[np.ndarray], fps: float) -> None:
    """An animated GIF that repeats for ever: frames uint8 [H,W,3] of one size, 256 colours each."""
    reduced = [
        Image.fromarray(frame).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        for frame in frames
    ]
    ends = [round(100 * (index + 1) / fps) for index in range(len(reduced))]  # GIFs count hundredths of seconds
    lasts = [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]
    with atomic(path) as beside:
        reduced[0].save(beside, "GIF", save_all=True, append_images=reduced[1:], duration=lasts, loop=0, disposal=1)
