"""Motions from fits of videos: the person in the video and the one in the motion do the same, at the same time."""

from __future__ import annotations

import math
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pandas as pd
import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.core.files import write_table
from ag3d.model.avatars.motion import motion_labels
from ag3d.model.avatars.motion_sources import is_fits, named_motion, read_fits
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.photos.photo_index import frame_id, photo_id

HALF = 200.0  # pixels for a metre


def rows(video: str, frames: range, status: str = "ok") -> list[dict]:
    """Somebody who turns by 0.01 a frame, raises an arm by 0.02 a frame and goes to the right by a pixel a frame."""
    made = []
    for frame in frames:
        pose = np.zeros(69, np.float32)
        pose[47] = 0.02 * frame
        # Upright, facing the camera, then turned about the vertical.
        orient = torch.tensor([math.pi * math.cos(0.005 * frame), 0.0, math.pi * math.sin(0.005 * frame)])
        made.append(
            {
                "person_id": "",
                "photo_id": frame_id(photo_id(video), frame),
                "path": video,
                "centre_x": 300.0 + frame,
                "centre_y": 240.0,
                "half": HALF,
                "transl": np.float32([0.05, 0.15, 0.3]),
                "global_orient": orient.numpy(),
                "body_pose": pose,
                "status": status,
            }
        )
    return made


def save(folder: Path, made: list[dict], name: str = "00000.parquet") -> Path:
    write_table(folder / "fitting" / name, pd.DataFrame(made), {"stage": "fitting"})
    return folder / "fitting"


def test_frames_between_are_filled(tmp_path: Path, tiny_body: Body) -> None:
    """Of frames 10, 15 … 60 two were not fitted; they are between their neighbours."""
    made = rows("a/dance.mp4", range(10, 61, 5))
    made[3]["status"] = made[4]["status"] = "rejected"
    motion = read_fits(save(tmp_path, made[::-1]))
    assert len(motion) == 11
    assert motion.fps == pytest.approx(30 / 5)
    expected = 0.02 * torch.arange(10, 61, 5)
    torch.testing.assert_close(motion.body_pose[:, 47], expected, atol=1e-5, rtol=0)
    # Seen by the label's camera, the body is as it was fitted.
    label = motion_labels(motion, torch.zeros(10), follow=False)
    orient = torch.from_numpy(np.stack([row["global_orient"] for row in rows("a/dance.mp4", range(10, 61, 5))]))
    torch.testing.assert_close(axis_angle_to_matrix(label[:, 29:32]), axis_angle_to_matrix(orient), atol=1e-5, rtol=0)
    steps = torch.diff(label[:, 26:29], dim=0)
    torch.testing.assert_close(steps, torch.tensor([[5 / HALF, 0, 0]]).expand(10, 3), atol=1e-5, rtol=0)
    head = tiny_body.from_label(label).joints[:, 15]
    feet = tiny_body.from_label(label).joints[:, 10]
    assert (head[:, 1] < feet[:, 1] - 1).all()  # y points down


def test_the_rate_is_the_videos(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fits = save(tmp_path, rows("dance.mp4", range(0, 40, 12)))
    record = {"stage": "photos", "settings": {"frames_per_second": 2.0, "frame_stride": 0}, "folder": "../videos"}
    write_table(tmp_path / "photos" / "00000.parquet", pd.DataFrame({"photo_id": ["x"]}), record)
    assert read_fits(fits).fps == pytest.approx(2)  # as far as the settings tell: 24 / 12
    assert "dance.mp4 is not there any more: 24 frames per second" in caplog.text
    (tmp_path / "videos").mkdir()
    writer = imageio_ffmpeg.write_frames(str(tmp_path / "videos" / "dance.mp4"), (32, 32), fps=25, macro_block_size=16)
    writer.send(None)
    for _ in range(5):
        writer.send(np.zeros((32, 32, 3), np.uint8))
    writer.close()
    motion = read_fits(fits)
    assert motion.fps == pytest.approx(25 / 12)
    assert len(motion) == 4
    assert len(motion.resampled(25)) == 48


def test_one_of_several_videos(tmp_path: Path) -> None:
    fits = save(tmp_path, rows("a/dance.mp4", range(0, 30, 3)) + rows("photo.jpg", range(0)), "00000.parquet")
    save(tmp_path, rows("b/walk.mp4", range(0, 10, 5)), "00001.parquet")
    with pytest.raises(
        UserError, match=r"several videos; give one of them: .*fitting#a/dance.mp4, .*fitting#b/walk.mp4"
    ):
        read_fits(fits)
    for name in ("a/dance.mp4", "dance.mp4", "dance"):
        assert len(named_motion(f"{fits}#{name}")) == 10
    assert len(named_motion(f"{fits / '00001.parquet'}")) == 2
    with pytest.raises(UserError, match=r"holds no videos named jump; it has a/dance.mp4, b/walk.mp4"):
        read_fits(f"{fits}#jump")


def test_a_single_frame(tmp_path: Path) -> None:
    assert len(read_fits(save(tmp_path, rows("a.mp4", range(4, 5))))) == 1


def test_what_are_fits(tmp_path: Path) -> None:
    assert is_fits(tmp_path)
    assert is_fits(f"{tmp_path}#dance.mp4")
    assert is_fits("results/x/fitting/00000.parquet")
    assert not is_fits("dance.npz")


def test_no_fits(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty holds no fits"):
        read_fits(tmp_path / "empty")
    with pytest.raises(UserError, match=r"none.parquet does not exist"):
        read_fits(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(UserError, match=r"text.parquet is not a readable Parquet file"):
        read_fits(tmp_path / "text.parquet")
    photos = [row | {"photo_id": "a-12345678"} for row in rows("a.jpg", range(2))]
    with pytest.raises(UserError, match=r"holds no fitted frames of a video"):
        read_fits(save(tmp_path, photos))
    save(tmp_path, [{key: value for key, value in row.items() if key != "half"} for row in photos])
    with pytest.raises(UserError, match=r"has no column 'half'"):
        read_fits(tmp_path / "fitting")
