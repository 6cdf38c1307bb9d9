"""Frames of videos, by ffmpeg (from the package imageio-ffmpeg): which to take, and reading them, upright."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any

import imageio_ffmpeg
import numpy as np

from ag3d.preprocessing.photos.read_image import PhotoError

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})


def is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def frame_stride(path: str | os.PathLike[str], stride: int, per_second: float) -> int:
    """Each how many frames one is taken: `stride`, or where that is 0 the one that gives about `per_second`.

    Raises PhotoError where the file is no video.
    """
    if stride:
        return stride
    with closing(_open(path, [])) as reader:
        rate = float(_metadata(reader).get("fps") or 0)
    return max(1, round(rate / per_second))


def frames(path: str | os.PathLike[str], start: int, stride: int) -> Iterator[tuple[int, np.ndarray]]:
    """Frames number `start`, `start + stride`, …: their number and uint8 RGB [H,W,3].

    A video that is damaged ends where the damage begins. Raises PhotoError where it holds no such frame at all.
    """
    selection = f"select=gte(n\\,{start})*not(mod(n-{start}\\,{stride}))"
    number = start
    with closing(_open(path, ["-vf", selection, "-fps_mode", "passthrough"])) as reader:
        size = _metadata(reader)["size"]
        with suppress(RuntimeError, OSError):  # the rest cannot be decoded
            for data in reader:
                yield number, np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3)
                number += stride
    if number == start:
        raise PhotoError("damaged video: no frame of it can be decoded")


class FrameReader:
    """The frames `numbers` of a video, evenly spaced; in this order they are read in one go."""

    def __init__(self, path: str | os.PathLike[str], numbers: Sequence[int]) -> None:
        self.path = path
        self._stride = numbers[1] - numbers[0] if len(numbers) > 1 else 1
        self._reader: Iterator[tuple[int, np.ndarray]] = iter(())
        self._next = -1
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, number: int) -> np.ndarray:
        """uint8 RGB [H,W,3]. Raises PhotoError where it cannot be decoded."""
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        if not 0 <= number - self._next <= 20 * self._stride or (number - self._next) % self._stride:
            self._reader, self._next = frames(self.path, number, self._stride), number
        for index, frame in self._reader:
            self._last, self._next = (index, frame), index + self._stride
            if index == number:
                return frame
        raise PhotoError(f"damaged video: frame {number} cannot be decoded")


def _open(path: str | os.PathLike[str], output: list[str]) -> Generator[Any, None, None]:
    if not os.path.exists(path):
        raise PhotoError("the file is missing")
    if not os.path.getsize(path):
        raise PhotoError("the file is empty")
    return imageio_ffmpeg.read_frames(os.fspath(path), output_params=output)


def _metadata(reader: Iterator) -> dict:
    """What ffmpeg tells of the video before its frames."""
    try:
        return next(reader)
    except Exception as error:  # whatever the decoder's process says on a file that is none
        raise PhotoError("damaged video, or of a kind that is not supported") from error
