"""Frames of videos become photographs: which ones, what they show, and what becomes of broken files."""

from __future__ import annotations

from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.stage_tables import manifest_table

from ag3d.config.data import Photos
from ag3d.core.files import write_table
from ag3d.preprocessing.photos import photo_index, video
from ag3d.preprocessing.photos.manifest import Manifest, recorded_folder
from ag3d.preprocessing.photos.read_image import PhotoError

FRAMES, WIDTH, HEIGHT = 24, 160, 192


def level(number: int) -> int:
    """Each frame has a brightness of its own."""
    return 20 + 9 * number


def write_video(path: Path, fps: int = 12, codec: str = "libx264") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio_ffmpeg.write_frames(
        str(path), (WIDTH, HEIGHT), fps=fps, codec=codec, quality=9, macro_block_size=1
    )
    writer.send(None)
    for number in range(FRAMES):
        writer.send(np.full((HEIGHT, WIDTH, 3), level(number), np.uint8))
    writer.close()
    return path


def table_of(folder: Path, **settings) -> pd.DataFrame:
    return manifest_table(folder, 0, Photos(shards=1, **settings))


@pytest.mark.parametrize(
    ("settings", "expected"), [({"frame_stride": 5}, 5), ({"frames_per_second": 4}, 3), ({"frames_per_second": 99}, 1)]
)
def test_frames_are_taken_by_the_rule_and_bear_their_video_s_name(
    tmp_path: Path, settings: dict, expected: int
) -> None:
    write_video(tmp_path / "walks" / "anna.mp4")
    table = table_of(tmp_path, **settings)
    assert list(table["frame"]) == list(range(0, FRAMES, expected))
    assert set(table["path"]) == {"walks/anna.mp4"}
    name = photo_index.photo_id("walks/anna.mp4")
    assert table["photo_id"][1] == f"{name}-f{expected:06d}"
    assert name.startswith("anna-")
    assert set(table["status"]) == {"ok"}
    assert (table["width"] == WIDTH).all()
    assert (table["height"] == HEIGHT).all()


def manifest_of(folder: Path, place: Path, **settings) -> Manifest:
    path = place / "photos" / "00000.parquet"
    record = {"settings": {"max_pixels": settings.pop("max_pixels", 10**7)}, "folder": recorded_folder(folder, path)}
    write_table(path, table_of(folder, **settings), record)
    return Manifest(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi"])
def test_every_frame_is_the_right_one_in_any_order(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "videos"
    write_video(folder / f"a{suffix}")
    write_video(folder / f"b{suffix}", fps=30)
    Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(folder / "photo.png")
    manifest = manifest_of(folder, tmp_path, frame_stride=3)
    rows = manifest.rows()
    assert len(rows) == 2 * FRAMES / 3 + 1
    for order in (rows, rows[::-1], [rows[k] for k in np.random.default_rng(0).permutation(len(rows))]):
        for row in order:
            expected = level(row["frame"]) if row["frame"] >= 0 else 9
            shown = manifest.photo(row["photo_id"]).rgb
            assert shown.shape == (HEIGHT, WIDTH, 3)
            assert abs(float(shown.mean()) - expected) < 3, row


def test_frames_are_reduced_like_photographs(tmp_path: Path) -> None:
    write_video(tmp_path / "v" / "a.mp4")
    manifest = manifest_of(tmp_path / "v", tmp_path, frame_stride=8, max_pixels=10_000)
    photo = manifest.photo(manifest.rows()[1]["photo_id"])
    assert photo.rgb.shape[0] * photo.rgb.shape[1] <= 10_000
    assert photo.file_size == (WIDTH, HEIGHT)
    assert photo.scale == pytest.approx((10_000 / (WIDTH * HEIGHT)) ** 0.5, rel=0.02)


def test_broken_videos_are_rejected_and_cut_ones_used_as_far_as_they_go(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mov").write_bytes(b"")
    (tmp_path / "cut.mkv").write_bytes(whole[: int(0.75 * len(whole))])
    (tmp_path / "copy.mkv").write_bytes(whole)
    (tmp_path / "sound.webm").write_bytes(whole[:300])
    table = table_of(tmp_path, frame_stride=2)
    counts = table[table["status"] == "ok"].groupby("path").size()
    assert counts["copy.mkv"] == FRAMES // 2
    assert 0 < counts["cut.mkv"] < FRAMES // 2
    bad = table[table["status"] != "ok"].set_index("path")["reason"]
    assert bad["whole.mkv"] == "duplicate of copy.mkv"
    assert bad["empty.mov"] == "the file is empty"
    assert "damaged video" in bad["text.mp4"]
    assert "damaged video" in bad["sound.webm"]
    assert table["photo_id"].is_unique
    small = table_of(tmp_path, frame_stride=2, min_side=170)
    assert set(small.loc[small["path"] == "copy.mkv", "reason"]) == {"the shorter side is below 170 pixels"}


def test_a_video_that_went_away_rejects_its_frames(tmp_path: Path) -> None:
    file = write_video(tmp_path / "v" / "a.mp4")
    manifest = manifest_of(tmp_path / "v", tmp_path, frame_stride=8)
    file.unlink()
    assert all(isinstance(photo, PhotoError) for _, photo in manifest.photos())
    with pytest.raises(PhotoError, match="the file is missing"):
        video.frame_times(file)


def test_a_video_belongs_to_one_shard_and_changing_it_runs_that_again(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + name.encode() * len(name) * ord(name[0]))
    before = photo_index.fingerprints(tmp_path, 4)
    tables = [manifest_table(tmp_path, shard, Photos(shards=4, frame_stride=12)) for shard in range(4)]
    assert sorted(pd.concat(tables)["path"].unique()) == ["a.mp4", "b.mp4", "c.mp4"]
    assert all(len(group) == 2 for table in tables for _, group in table.groupby("path"))
    write_video(tmp_path / "b.mp4", fps=10)
    after = photo_index.fingerprints(tmp_path, 4)
    changed = {shard for shard in range(4) if before[shard] != after[shard]}
    assert changed == {photo_index.shard_of(photo_index.photo_id("b.mp4"), 4)}


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_another_file_of_the_name_is_not_taken_for_the_one_that_was_listed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "v"
    write_video(folder / "a.mp4")
    Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 9)).save(folder / "a.png")
    manifest = manifest_of(folder, tmp_path, frame_stride=8)
    if name == "a.mp4":
        write_video(folder / "a.mp4", fps=13)
    else:
        Image.new("RGB", (WIDTH, HEIGHT), (9, 9, 8)).save(folder / "a.png")
    for row, photo in manifest.photos():
        assert isinstance(photo, PhotoError) == (row["path"] == name)
        if row["path"] == name:
            assert "changed after it was listed" in str(photo)
