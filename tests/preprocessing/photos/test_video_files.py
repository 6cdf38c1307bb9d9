"""Videos as they come: every sampling, every container, uneven frames, odd pixels, files that point elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.preprocessing.photos import video
from ag3d.preprocessing.photos.read_image import PhotoError


def ffmpeg(*arguments: object, folder: Path | None = None) -> None:
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-nostdin", *map(str, arguments)], check=True, cwd=folder)


def pictures(*more: str, size: str = "160x120", rate: int = 30) -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}", *more]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    ffmpeg(*pictures(), "-frames:v", 40, "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    return path


@pytest.mark.parametrize("numbers", [list(range(40)), list(range(0, 40, 2)), [0], [39], [5, 9, 20], [39, 0, 20]])
def test_every_sampling_of_a_video_is_read(clip: Path, numbers: list[int]) -> None:
    all_frames = dict(video.frames(clip, 0, 1))
    assert list(all_frames) == list(range(40))
    reader = video.FrameReader(clip, sorted(numbers))
    for number in numbers:
        assert np.array_equal(reader.read(number), all_frames[number])
    with pytest.raises(PhotoError, match="frame 40 cannot be decoded"):
        reader.read(40)
    assert np.array_equal(reader.read(numbers[0]), all_frames[numbers[0]])


@pytest.mark.parametrize(
    ("stride", "per_second", "expected"),
    [(1, 2, 40), (100, 2, 1), (0, 30, 40), (0, 300, 40), (0, 2, 3), (0, 0.01, 1), (7, 2, 6)],
)
def test_rates_and_strides(clip: Path, stride: int, per_second: float, expected: int) -> None:
    assert len(list(video.sampled_frames(clip, stride, per_second))) == expected
    table = manifest_table(
        clip.parent, 0, Photos(shards=1, min_side=64, frame_stride=stride, frames_per_second=per_second)
    )
    assert set(table["status"]) == {"ok"}
    assert len(table) == expected


@pytest.mark.parametrize("frames", [1, 2])
def test_clips_of_one_frame_and_of_two(tmp_path: Path, frames: int) -> None:
    ffmpeg(*pictures(), "-frames:v", frames, "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    assert [number for number, _ in video.sampled_frames(tmp_path / "a.mp4", 0, 30)] == list(range(frames))


CONTAINERS = {
    "b-frames.mp4": ["-c:v", "libx264", "-bf", "3", "-g", "50"],
    "sound.mov": ["-f", "lavfi", "-i", "sine", "-shortest", "-c:v", "libx264", "-c:a", "aac"],
    "open.mkv": ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=40"],
    "old.avi": ["-c:v", "mpeg4"],
    "tube.webm": ["-c:v", "libvpx", "-deadline", "realtime"],
    "disc.mpg": ["-c:v", "mpeg2video"],
    "camera.mts": ["-c:v", "libx264", "-f", "mpegts"],
    "phone.3gp": ["-c:v", "mpeg4"],
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_late_frames_are_sought_and_are_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    codec = CONTAINERS[name]
    ffmpeg(*pictures(rate=25), *codec, "-frames:v", 150, "-pix_fmt", "yuv420p", path)
    all_frames = dict(video.frames(path, 0, 1))
    assert len(all_frames) >= 149
    for start in (61, 99, 140):
        reader = video.FrameReader(path, [start, start + 3])
        for number in (start, start + 3):
            difference = [
                np.abs(reader.read(number).astype(int) - all_frames[k]).mean() for k in (number - 1, number, number + 1)
            ]
            assert np.argmin(difference) == 1
            assert difference[1] < 2


def test_uneven_frames_are_taken_by_their_own_times(tmp_path: Path) -> None:
    """A second of 30 frames, then three of 5."""
    uneven = "select='lt(n,30)+not(mod(n,6))'"
    ffmpeg(*pictures(), "-frames:v", 45, "-vf", uneven, "-fps_mode", "vfr", "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    times = video.frame_times(tmp_path / "a.mp4")
    assert video.even_rate(times) == 0
    numbers = [number for number, _ in video.sampled_frames(tmp_path / "a.mp4", 0, 2)]
    assert numbers[:2] == [0, 15]
    gaps = np.diff(times[numbers])
    assert gaps.min() > 0.3
    assert gaps.max() < 0.75
    shown = dict(video.frames(tmp_path / "a.mp4", 0, 1))
    for number, frame in video.sampled_frames(tmp_path / "a.mp4", 0, 2):
        assert np.array_equal(frame, shown[number])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [("setsar=2", (120, 320)), ("setsar=1/2", (120, 80)), ("setsar=1000", (120, 160)), ("setsar=1", (120, 160))],
)
def test_pixels_become_square(tmp_path: Path, filters: str, expected: tuple[int, int]) -> None:
    ffmpeg(*pictures(), "-frames:v", 3, "-vf", filters, "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    assert next(video.frames(tmp_path / "a.mp4", 0, 1))[1].shape[:2] == expected


def test_turned_videos_stand_upright(tmp_path: Path) -> None:
    ffmpeg(*pictures(), "-frames:v", 3, "-pix_fmt", "yuv420p", tmp_path / "a.mp4")
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "a.mp4", "-c", "copy", tmp_path / "b.mp4")
    plain, turned = (next(video.frames(tmp_path / name, 0, 1))[1].astype(int) for name in ("a.mp4", "b.mp4"))
    assert turned.shape == (160, 120, 3)
    assert np.abs(np.rot90(plain) - turned).mean() < 2


def test_nothing_but_the_file_is_read(clip: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clip.read_bytes())
    folder = tmp_path / "v"
    folder.mkdir()
    base = f"<BaseURL>{secret}</BaseURL>"
    texts = {
        "concat.mp4": f"ffconcat version 1.0\nfile {secret}\n",
        "relative.mp4": "ffconcat version 1.0\nfile ../secret.mp4\n",
        "list.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        "dash.mp4": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>{base}</Period></MPD>',
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "images%03d.mp4": "x",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        with pytest.raises(PhotoError, match="damaged video, or of a kind"):
            list(video.frames(folder / name, 0, 1))


@pytest.mark.parametrize(
    "name",
    ["concat:a.mp4", "async:a.mp4", "http:/127.0.0.1:9/x.mp4", "-i a.mp4", "a%03d.mp4", "a'b\n.mp4", "[0:v].mp4"],
)
def test_names_are_names(clip: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").write_bytes(b"another file")
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(clip.read_bytes())
    assert len(list(video.frames(name, 0, 20))) == 2


def test_enormous_frames_are_not_decoded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_FRAME_PIXELS", 160 * 120 - 1)
    with pytest.raises(PhotoError, match="no frame of it can be decoded"):
        list(video.frames(clip, 0, 1))


def test_one_name_in_two_unicode_forms(clip: Path, tmp_path: Path) -> None:
    for form, data in (("caf\u00e9.mp4", b""), ("cafe\u0301.mp4", b"more")):
        (tmp_path / form).write_bytes(clip.read_bytes() + data)
    table = manifest_table(tmp_path, 0, Photos(shards=1, min_side=64, frame_stride=20))
    assert table["photo_id"].is_unique
    assert list(table["status"]) == ["ok", "ok", "rejected"]
    assert "in Unicode form only" in table["reason"].iloc[-1]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.avi", ["mpeg4", "-bf", "2"]), ("a.mpg", ["mpeg2video", "-bf", "2"]), ("a.mts", ["libx264", "-bf", "2"])],
)
def test_files_that_do_not_say_when_each_frame_is_shown(tmp_path: Path, name: str, codec: list[str]) -> None:
    """AVI has no time stamps of frames that are decoded before others; those of MPEG begin anywhere."""
    path = tmp_path / name
    ffmpeg(*pictures(rate=25), "-frames:v", 120, "-c:v", *codec, "-pix_fmt", "yuv420p", path)
    every = dict(video.frames(path, 0, 1))
    assert list(every) == list(range(120))
    for number in (119, 70, 61):
        assert np.array_equal(video.FrameReader(path, [number]).read(number), every[number])
    assert 9 <= len(list(video.sampled_frames(path, 0, 2.0))) <= 11


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize("cut", [False, True])
def test_late_frames_where_the_sound_begins_first_or_the_beginning_is_cut_off(
    tmp_path: Path, name: str, cut: bool
) -> None:
    whole, path = tmp_path / "whole.mkv", tmp_path / name
    ffmpeg(*pictures(rate=25), "-frames:v", 150, "-c:v", "libx264", "-bf", 3, "-pix_fmt", "yuv420p", whole)
    sound = ["-f", "lavfi", "-i", "sine=duration=6"]
    moved = ["-ss", "1.3"] if cut else ["-itsoffset", "0.7"]
    ffmpeg(*sound, *moved, "-i", whole, "-map", 0, "-map", 1, "-c:v", "copy", path)
    every = dict(video.frames(path, 0, 1))
    for number in (max(every), 70, 61):
        assert np.array_equal(video.FrameReader(path, [number]).read(number), every[number])
