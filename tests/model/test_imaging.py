"""Network output as pictures and videos."""

from __future__ import annotations

import weakref
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
import torch
from PIL import Image

from ag3d.core.errors import UserError
from ag3d.model.imaging import KINDS, depth_picture, grid, pictures_of, resize_square, to_uint8, write_gif, write_video


def test_values_become_bytes() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0]).view(1, 1, 1, 6).repeat(1, 3, 1, 1)
    values[:, 1] = -1
    out = to_uint8(values)
    assert out.shape == (1, 1, 6, 3)
    assert out[0, 0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]
    assert not out[..., 1].any()


def test_near_is_dark_and_nothing_is_white() -> None:
    depth = torch.full((2, 1, 4, 4), 100.0)
    opacity = torch.zeros(2, 1, 4, 4)
    depth[0, 0, 1, :3] = torch.tensor([99.5, 99.75, 100.0])
    opacity[0, 0, 1, :3] = 1
    depth[0, 0, 3, 3] = 20  # unseen, and no part of the range
    out = depth_picture(depth, opacity)
    assert out.shape == (2, 4, 4, 3)
    assert out[0, 1, :3, 0].tolist() == [40, 125, 210]
    assert int((out[0] == 255).sum()) == 3 * 13
    assert (out[1] == 255).all()  # nobody there


def test_every_kind_has_the_side_asked_for() -> None:
    small = torch.zeros(2, 3, 8, 8)
    out = {"image": torch.ones(2, 3, 16, 16), "image_raw": small, "image_normal": small - 1}
    out |= {"image_depth": torch.ones(2, 1, 8, 8), "opacity": torch.zeros(2, 1, 8, 8)}
    pictures = pictures_of(out, 24)
    assert list(pictures) == list(KINDS)
    assert {picture.shape for picture in pictures.values()} == {(2, 24, 24, 3)}
    assert [int(pictures[kind].mean()) for kind in KINDS] == [255, 128, 0, 255]


@pytest.mark.parametrize("side", [8, 16, 32, 33])
def test_sizes_keep_the_picture(side: int) -> None:
    """Left dark, right bright, the middle where it was."""
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:, 8:] = 200
    out = resize_square(picture, side)
    assert out.shape == (side, side, 3)
    assert out[:, : side // 4].max() < 10
    assert out[:, -(side // 4) :].min() > 190
    assert float(out.mean()) == pytest.approx(100, abs=4)


def test_grid_has_rows() -> None:
    tile = [np.full((2, 3, 3), value, np.uint8) for value in range(6)]
    out = grid([tile[:3], tile[3:]])
    assert out.shape == (4, 9, 3)
    assert out[::2, ::3, 0].tolist() == [[0, 1, 2], [3, 4, 5]]


def moving(count: int, height: int, width: int) -> list[np.ndarray]:
    """A red field that grows from the left over blue; a green stripe along the bottom."""
    frames = []
    for index in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 2] = 220
        frame[:, : width * (index + 1) // (count + 1)] = (220, 0, 0)
        frame[-8:] = (0, 200, 0)
        frames.append(frame)
    return frames


@pytest.mark.parametrize(
    ("height", "width", "count", "fps"), [(64, 48, 5, 12), (33, 49, 4, 7), (32, 65, 1, 30), (192, 384, 3, 24)]
)
def test_videos_come_back(tmp_path: Path, height: int, width: int, count: int, fps: int) -> None:
    frames = moving(count, height, width)
    write_video(tmp_path / "video.mp4", frames, fps)
    with imageio.get_reader(tmp_path / "video.mp4") as reader:
        facts, read = reader.get_meta_data(), [np.asarray(frame) for frame in reader]
    assert len(read) == count
    assert facts["fps"] == fps
    assert facts["codec"] == "h264"
    assert facts["pix_fmt"].startswith("yuv420p")  # what browsers play
    for frame, original in zip(read, frames):
        assert frame.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(frame[:height, :width].astype(int) - original).mean() < 12
        if width % 2:  # the column that was added continues the picture
            assert np.abs(frame[:, -1].astype(int) - frame[:, -2]).mean() < 12
    assert read[0][2, 2, 0] > 150 > read[0][2, 2, 2]  # red, not blue
    assert read[0][-2, width // 2, 1] > 120


def test_odd_sizes_are_not_blurred(tmp_path: Path) -> None:
    """A column is added; stretching would smear stripes of two pixels."""
    stripes = np.where(np.arange(65) // 2 % 2, 60, 200).astype(np.uint8)
    frame = np.ascontiguousarray(np.broadcast_to(stripes[:, None], (33, 65, 3)))
    write_video(tmp_path / "video.mp4", [frame], 12)
    with imageio.get_reader(tmp_path / "video.mp4") as reader:
        read = np.asarray(reader.get_next_data())
    assert np.abs(read[:33, :65].astype(int) - frame).mean() < 10


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", moving(6, 64, 64), 12)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    write_video(tmp_path / "c.mp4", moving(6, 64, 64)[::-1], 12)
    assert (tmp_path / "c.mp4").read_bytes() != (tmp_path / "a.mp4").read_bytes()


@pytest.mark.parametrize("fps", [12, 30, 7])
def test_gifs_come_back(tmp_path: Path, fps: int) -> None:
    frames = moving(9, 40, 31)
    for name in ("a", "b"):
        write_gif(tmp_path / f"{name}.gif", iter(frames), fps)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (9, (31, 40), 0)
        lasts = 0
        for index, frame in enumerate(frames):
            gif.seek(index)
            lasts += gif.info["duration"]
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - frame).max() < 8
    assert lasts == pytest.approx(1000 * 9 / fps, abs=10)  # GIFs count hundredths of seconds


def test_videos_need_not_fit_into_the_memory(tmp_path: Path) -> None:
    """Frames are written as they come."""
    alive: list[int] = []

    def endless():
        for index in range(40):
            frame = np.zeros((16, 16, 3), np.uint8)
            alive.append(index)
            weakref.finalize(frame, alive.remove, index)
            assert len(alive) < 6
            yield frame

    write_video(tmp_path / "video.mp4", endless(), 10)
    with imageio.get_reader(tmp_path / "video.mp4") as reader:
        assert sum(1 for _ in reader) == 40


def test_no_half_video(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_video(tmp_path / "video.mp4", [*moving(2, 32, 32), np.zeros((64, 64, 3), np.uint8)], 12)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("words", "match"), [("No space left on device", "no space left"), ("bad luck", "bad luck")])
def test_an_encoder_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, match: str
) -> None:
    encoder = tmp_path / "ffmpeg"
    encoder.write_text(f"#!/bin/sh\necho '{words}' >&2\nfor last; do :; done; echo half > ${{last#file:}}\nexit 1\n")
    encoder.chmod(0o755)
    monkeypatch.setattr("imageio_ffmpeg.get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(UserError, match=match):
        write_video(tmp_path / "a.mp4", [np.zeros((512, 512, 3), np.uint8)] * 9, 25)
    assert [path.name for path in tmp_path.iterdir()] == ["ffmpeg"]


def test_names_of_videos_are_no_protocols(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_video("http:/a%03d.mp4", [np.zeros((16, 16, 3), np.uint8)] * 3, 25)
    assert (tmp_path / "http:" / "a%03d.mp4").stat().st_size > 0
