"""Frames of videos, by ffmpeg (from the package imageio-ffmpeg): which to take, and reading them as players show them.

A file is opened by its absolute name as what its first bytes say, and nothing but the file: ffmpeg may follow no address, no
playlist and no reference to another file. Frames come upright, with square pixels, numbered from 0 in the order of display.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import pairwise
from math import gcd
from typing import IO

import imageio_ffmpeg
import numpy as np

from ag3d.preprocessing.photos.read_image import PhotoError, open_file

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".m2ts", ".3gp"})
MAX_FRAME_PIXELS = 36_000_000  # 8K; a decoder keeps some twenty frames
_INDEXED = ("mov", "matroska")  # whose frames are found by their time
_UNKNOWN = -(2**63)  # ffmpeg's number for the time stamps that a file lacks, as AVI's do
_SEEK_BEYOND = 60  # frames: nearer ones are decoded one after the other
# Pixels that are not square become so by the width, where what the file says of them is sensible.
_SQUARE = f"scale=w='if(between(sar,0.25,4)*lt(iw*sar*ih,{MAX_FRAME_PIXELS}),round(iw*sar),iw)':h=ih,setsar=1"


def is_video(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def sampled_frames(path: str | os.PathLike[str], stride: int, per_second: float) -> Iterator[tuple[int, np.ndarray]]:
    """Each `stride`th frame, or where that is 0 about `per_second` of them: by their own time stamps where frames do not
    follow each other evenly. Number and uint8 RGB [H,W,3] of each; raises PhotoError as `frames` does."""
    numbers = None if stride else _numbers(frame_times(path), per_second)
    if numbers is None or len(numbers) < 2:
        return frames(path, 0, stride or 1, count=None if stride else 1)
    step = gcd(*(later - former for former, later in pairwise(numbers)))
    wanted = set(numbers)
    return (
        (number, frame)
        for number, frame in frames(path, 0, step, len(range(0, numbers[-1] + 1, step)))
        if number in wanted
    )


def _numbers(times: np.ndarray, per_second: float) -> list[int]:
    """The numbers of the frames to take, from 0 on."""
    rate = even_rate(times)
    if rate:
        return list(range(0, len(times), max(1, round(rate / per_second))))
    periods = np.floor((times - times[0] + 1e-4) * per_second)  # of each the first frame, and of gaps what ends them
    return [0, *(np.flatnonzero(np.diff(periods) > 0) + 1).tolist()]


def even_rate(times: np.ndarray) -> float:
    """Frames a second where all last equally long (but for rounding); 0 where they do not."""
    if len(times) < 2 or times[-1] <= times[0]:
        return 0.0
    step = (times[-1] - times[0]) / (len(times) - 1)
    even = times[0] + step * np.arange(len(times))
    return float(1 / step) if np.abs(times - even).max() < 0.1 * step else 0.0


@lru_cache(maxsize=4)
def _times(path: str, size: int, modified: int) -> np.ndarray:
    """See `frame_times`; size and date are of the file, so that another file of the name is read anew."""
    command = [*_command(path), "-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout
    times, unit = [], 0.0
    for line in told.decode("ascii", "replace").splitlines():
        if line.startswith("#tb 0:"):
            above, below = line.split(":", 1)[1].split("/")
            unit = int(above) / int(below)
        elif line[:1].isdigit():
            decoded, shown = (int(stamp) for stamp in line.split(",")[1:3])
            times.append((shown if shown > _UNKNOWN else decoded) * unit)
    return np.sort([time for time in times if time >= 0])  # what an edit list leaves out lies before 0


def frame_times(path: str | os.PathLike[str]) -> np.ndarray:
    """When each frame is shown (seconds), in order; nothing is decoded. Raises PhotoError where the file is no video."""
    _check(path)
    status = os.stat(path)
    times = _times(os.path.abspath(path), status.st_size, status.st_mtime_ns)
    if not len(times):
        raise PhotoError("damaged video, or of a kind that is not supported")
    return times


def frames(
    path: str | os.PathLike[str], start: int, stride: int, count: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Frames number `start`, `start + stride`, … (at most `count`): their number and uint8 RGB [H,W,3].

    A video that is damaged ends where the damage begins. Raises PhotoError where it holds no such frame at all.
    """
    command, skipped = _command(path), 0
    if start > _SEEK_BEYOND and _check(path) in _INDEXED:
        times = frame_times(path)
        if (rate := even_rate(times)) and start < len(times):
            command, skipped = _command(path, times[start] - 0.5 / rate), start
    first = start - skipped
    chosen = f"select=gte(n\\,{first})*not(mod(n-{first}\\,{stride})),{_SQUARE}"
    command += ["-map", "0:v:0", "-vf", chosen, "-fps_mode", "passthrough", "-threads", "1"]
    command += [*([] if count is None else ["-frames:v", str(count)]), "-c:v", "ppm", "-f", "image2pipe", "-"]
    number = start
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    with process, closing(process.stdout) as stream:
        try:
            while (frame := _ppm(stream)) is not None:
                yield number, frame
                number += stride
        finally:
            process.kill()
    if number == start:
        raise PhotoError("damaged video: no frame of it can be decoded")


def _ppm(stream: IO[bytes]) -> np.ndarray | None:
    """The next picture of a stream of binary PPMs: uint8 [H,W,3]; None at its end, also where that is in a picture."""
    if stream.readline() != b"P6\n":
        return None
    width, height = (int(side) for side in stream.readline().split())
    stream.readline()
    data = stream.read(3 * width * height)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3) if len(data) == 3 * width * height else None


class FrameReader:
    """The frames `numbers` of a video; in rising order they are read in one go."""

    def __init__(self, path: str | os.PathLike[str], numbers: Sequence[int]) -> None:
        self.path = path
        steps = [later - former for former, later in pairwise(numbers)]
        self._stride = max(1, gcd(*steps))
        self._frames: Iterator[tuple[int, np.ndarray]] | None = None
        self._next = 0
        self._last: tuple[int, np.ndarray] | None = None

    def read(self, number: int) -> np.ndarray:
        """uint8 RGB [H,W,3]. Raises PhotoError where it cannot be decoded."""
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        ahead = number - self._next
        if self._frames is None or not 0 <= ahead <= max(_SEEK_BEYOND, 20 * self._stride) or ahead % self._stride:
            self._frames, self._next = frames(self.path, number, self._stride), number
        for index, frame in self._frames:
            self._last, self._next = (index, frame), index + self._stride
            if index == number:
                return frame
        self._frames = None
        raise PhotoError(f"damaged video: frame {number} cannot be decoded")


def _command(path: str | os.PathLike[str], seconds: float = 0.0) -> list[str]:
    """The beginning of ffmpeg's command: the file, and nothing but it, from `seconds` on."""
    kind = _check(path)
    own = ["-enable_drefs", "0", "-use_absolute_path", "0"] if kind == "mov" else []
    seek = ["-ss", f"{seconds:.6f}"] if seconds > 0 else []
    limits = ["-max_pixels", str(MAX_FRAME_PIXELS), "-threads", "2", "-protocol_whitelist", "file"]
    program = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
    return [*program, *limits, "-f", kind, *own, *seek, "-i", f"file:{os.path.abspath(path)}"]


def _check(path: str | os.PathLike[str]) -> str:
    """ffmpeg's name of the file's kind, by its first bytes. Raises PhotoError where that is none that is read."""
    with open_file(path) as handle:
        start = handle.read(400)
    if not start:
        raise PhotoError("the file is empty")
    if start[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"):
        return "mov"
    if start[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if start[:4] == b"RIFF" and start[8:12] == b"AVI ":
        return "avi"
    if start[:4] == b"\0\0\1\xba":
        return "mpeg"
    if start[:4] == b"\0\0\1\xb3":
        return "mpegvideo"
    if (start[:1] == b"G" and start[188:189] in (b"G", b"")) or (start[4:5] == b"G" and start[196:197] == b"G"):
        return "mpegts"
    raise PhotoError("damaged video, or of a kind that is not supported")
