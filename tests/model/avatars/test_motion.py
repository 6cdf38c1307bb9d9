"""Motion files: what is read from them, how they are turned into the label's world, and what is refused."""

from __future__ import annotations

import math
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ag3d.core.errors import UserError
from ag3d.model.avatars.motion import Motion, motion_labels, read_motion
from ag3d.model.body.body import JOINTS, Body
from ag3d.model.body.rotation import axis_angle_to_matrix, compose_axis_angles

UPRIGHT = torch.tensor([math.pi / 2, 0.0, 0.0])


def columns(frames: int, width: int) -> np.ndarray:
    """[frames,width] whose every number tells its frame and column."""
    return 0.001 * np.arange(width) + 0.2 * np.arange(frames)[:, None]


def save(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "motion.npz", **arrays)
    return folder / "motion.npz"


def standing(frames: int, orient: torch.Tensor = UPRIGHT, trans: torch.Tensor | None = None, fps: float = 30) -> Motion:
    moved = torch.zeros(frames, 3) if trans is None else trans
    return Motion(orient.expand(frames, 3), torch.zeros(frames, 69), moved, fps)


# ---- layouts


@pytest.mark.parametrize(
    ("width", "hands"), [(72, [*range(66, 72)]), (156, [72, 73, 74, 117, 118, 119]), (165, [None] * 6)]
)
def test_layouts_of_amass(tmp_path: Path, width: int, hands: list[int | None]) -> None:
    poses, trans = columns(4, width), columns(4, 3)
    key = "mocap_frame_rate" if width == 165 else "mocap_framerate"
    motion = read_motion(save(tmp_path, poses=poses, trans=trans, betas=np.zeros(16), gender="female", **{key: 120.0}))
    assert len(motion) == 4
    assert motion.fps == 120
    assert_close(motion.global_orient, torch.from_numpy(poses[:, :3]).float())
    expected = [poses[:, 3:66], *(np.zeros((4, 1)) if at is None else poses[:, at : at + 1] for at in hands)]
    assert_close(motion.body_pose, torch.from_numpy(np.concatenate(expected, axis=1)).float())
    assert_close(motion.trans, torch.from_numpy(trans).float())


@pytest.mark.parametrize("width", [63, 69])
def test_layout_in_parts(tmp_path: Path, width: int) -> None:
    motion = read_motion(save(tmp_path, root_orient=columns(3, 3), pose_body=columns(3, width)))
    assert_close(motion.global_orient, torch.from_numpy(columns(3, 3)).float())
    assert_close(motion.body_pose[:, :63], torch.from_numpy(columns(3, 63)).float())
    assert bool((motion.body_pose[:, 63:] == 0).all())  # of SMPL-H and SMPL-X, 63 are the body's
    assert motion.fps == 30
    assert bool((motion.trans == 0).all())


def test_dialects_of_other_programs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    poses, trans = columns(4, 72).astype(np.float32), columns(4, 3).astype(np.float32)
    own = read_motion(save(tmp_path, poses=poses, trans=trans, mocap_framerate=60))
    joints = poses.reshape(4, 24, 3)
    rows = np.zeros((4, 322), np.float32)
    rows[:, :66], rows[:, 309:312] = poses[:, :66], trans
    files = {
        "smplx.npz": {"global_orient": poses[:, :3], "body_pose": joints[:, 1:22], "transl": trans, "fps": [60]},
        "moyo.npz": {"poses": np.tile(poses[:, :66], (1, 3))[:, :165], "trans": trans, "mocap_frame_rate": 60},
        "joints.npz": {"poses": joints, "translation": trans, "frame_rate": np.float32(60)},
        "first_22.npz": {"fullpose": poses[:, :66], "root_trans": trans, "framerate": 60},
    }
    for name, arrays in files.items():
        np.savez(tmp_path / name, **arrays)
    aist = {"smpl_poses": poses.astype(float), "smpl_trans": trans * 93.5, "smpl_scaling": np.array([93.5]), "fps": 60}
    (tmp_path / "aist.pkl").write_bytes(pickle.dumps(aist))
    np.save(tmp_path / "motion_x.npy", rows)
    for name in (*files, "aist.pkl", "motion_x.npy"):
        caplog.clear()
        with caplog.at_level("INFO"):
            motion = read_motion(tmp_path / name)
        assert_close(motion.global_orient, own.global_orient)
        assert_close(motion.body_pose[:, :63], own.body_pose[:, :63])
        assert_close(motion.trans, own.trans, atol=1e-6, rtol=0)
        assert motion.fps == (30 if name.endswith(".npy") else 60)
        assert f"{name}: 4 frames; assumed: z up, metres" in caplog.text
        assert ("no frame rate is told: 30 per second" in caplog.text) == name.endswith(".npy")


def test_bodies_that_lie_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_motion(save(tmp_path, poses=np.zeros((4, 72))))
    assert "was the file written with y up" in caplog.text


@pytest.mark.parametrize("name", ["a.bvh", "a.npy", "a.pkl", "pipe.npz"])
def test_other_kinds_of_files_are_told(tmp_path: Path, name: str) -> None:
    if name == "pipe.npz":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"HIERARCHY")
    with pytest.raises(UserError, match=name):
        read_motion(tmp_path / name)


# ---- into the label's world


def test_amass_world_becomes_the_labels(tiny_body: Body) -> None:
    """Every vertex moves as the change of axes says: x stays, up is up (label's -y), AMASS's +y goes away from the camera."""
    source = torch.Generator().manual_seed(0)
    frames = 5
    betas = torch.randn(10, generator=source)
    motion = Motion(
        2 * torch.randn(frames, 3, generator=source),
        0.4 * torch.randn(frames, 69, generator=source),
        torch.randn(frames, 3, generator=source),
        30,
    )
    there = tiny_body(betas.expand(frames, 10), motion.body_pose, motion.global_orient, motion.trans).vertices
    x, y, z = there.unbind(-1)
    here = tiny_body.from_label(motion_labels(motion, betas)).vertices
    difference = here - torch.stack([x, -z, y], dim=-1)
    assert_close(difference, difference.mean(1, keepdim=True).expand_as(difference), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("turn", "front"), [(0.0, (0, 0, -1)), (math.pi / 2, (1, 0, 0)), (math.pi, (0, 0, 1))])
def test_a_standing_person_stands(tiny_body: Body, turn: float, front: tuple[int, int, int]) -> None:
    """Facing -y in AMASS is facing the camera; turned a quarter to the left, the image's right."""
    orient = compose_axis_angles(torch.tensor([0.0, 0.0, turn]), UPRIGHT)
    label = motion_labels(standing(2, orient), torch.zeros(10))
    joint = {name: place for name, place in zip(JOINTS, tiny_body.from_label(label).joints[0])}
    up = joint["head"] - joint["pelvis"]
    assert_close(up / up.norm(), torch.tensor([0.0, -1.0, 0.0]), atol=0.1, rtol=0)
    toes = joint["left_foot"] - joint["left_ankle"]
    ahead = torch.tensor(front, dtype=torch.float32)
    assert float(toes @ ahead) > 0.9 * float(toes[[0, 2]].norm())
    left = torch.linalg.cross(ahead, torch.tensor([0.0, 1.0, 0.0]))  # y is down
    assert float((joint["left_hand"] - joint["right_hand"]) @ left) > 1


def test_the_frame_goes_along(tiny_body: Body) -> None:
    trans = torch.zeros(5, 3)
    trans[:, 0] = torch.tensor([0.0, 1, 2, 3, 5])  # sideways
    trans[:, 1] = torch.tensor([0.0, 2, 4, 6, 8])  # away
    trans[:, 2] = torch.tensor([0.9, 0.9, 1.2, 0.9, 0.8])  # a jump, and a bow
    motion = standing(5, trans=trans)
    pelvis = {follow: tiny_body.from_label(motion_labels(motion, torch.zeros(10), follow)).joints[:, 0] for follow in (True, False)}  # fmt: skip
    for moved in pelvis.values():
        assert_close(moved[:, 1] - moved[0, 1], torch.tensor([0.0, 0, -0.3, 0, 0.1]), atol=1e-5, rtol=0)
        assert_close(moved[:, 2], moved[:1, 2].expand(5))
    assert_close(pelvis[True][:, 0], pelvis[True][:1, 0].expand(5))
    assert_close(pelvis[False][:, 0] - pelvis[True][:, 0], trans[:, 0] - 2.5)


def test_labels_are_of_the_shape_and_camera(tiny_body: Body) -> None:
    betas = torch.arange(10.0)
    label = motion_labels(standing(3), betas)
    assert label.shape == (3, 111)
    assert_close(label[:, 101:], betas.expand(3, 10))
    vertices = tiny_body.from_label(motion_labels(standing(1), torch.zeros(10))).vertices[0]
    assert float(vertices[:, :2].abs().max()) < 1  # the whole body is in the image


# ---- frame rates


@pytest.mark.parametrize(("fps", "to"), [(120.0, 25.0), (120.0, 30.0), (10.0, 24.0), (30.0, 30.0)])
def test_resampling_interpolates(fps: float, to: float) -> None:
    seconds = torch.arange(round(2 * fps)) / fps
    angles = torch.zeros(len(seconds), 69)
    angles[:, 4] = 2.5 * seconds  # about y, past π
    motion = Motion(
        torch.stack([seconds, 0 * seconds, 0 * seconds], dim=1),
        angles,
        seconds[:, None] * torch.tensor([1.0, 2, 3]),
        fps,
    )
    out = motion.resampled(to)
    assert out.fps == to
    assert len(out) == round(2 * to)
    when = (torch.arange(len(out)) / to).clamp_max(float(seconds[-1]))
    turned = torch.stack([0 * when, 2.5 * when, 0 * when], dim=1)
    assert_close(axis_angle_to_matrix(out.body_pose[:, 3:6]), axis_angle_to_matrix(turned), atol=1e-4, rtol=0)
    assert_close(out.global_orient[:, 0], when, atol=1e-4, rtol=0)
    assert_close(out.trans, when[:, None] * torch.tensor([1.0, 2, 3]), atol=1e-4, rtol=0)


def test_resampling_takes_the_shorter_way() -> None:
    """From 175° to 185°, which is written -175°."""
    orient = torch.tensor([[0, 0, math.radians(175)], [0, 0, math.radians(-175)]])
    motion = Motion(orient, torch.zeros(2, 69), torch.zeros(2, 3), 1.0)
    middle = motion.resampled(2.0).global_orient[1]
    expected = axis_angle_to_matrix(torch.tensor([0, 0, math.pi]))
    assert_close(axis_angle_to_matrix(middle), expected, atol=1e-5, rtol=0)


def test_a_single_frame_resampled() -> None:
    assert len(standing(1, fps=120).resampled(12)) == 1
    assert len(standing(1, fps=10).resampled(40)) == 4


# ---- what is refused

GOOD = columns(5, 156)
NAN = GOOD.copy()
NAN[3, 7] = np.nan
INFINITE = columns(5, 3)
INFINITE[4, 0] = np.inf


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"turns": columns(5, 72)}, "neither 'poses' nor .*turns"),
        ({"root_orient": columns(5, 3)}, "neither 'poses' nor"),
        ({"poses": columns(5, 70)}, r"'poses' is \[5, 70\]"),
        ({"poses": columns(5, 72).reshape(5, 8, 9)}, r"'poses' is \[5, 8, 9\]"),
        ({"poses": np.zeros(72)}, r"'poses' is \[72\]"),
        ({"poses": np.array(["a", "b"])}, "'poses' holds no numbers"),
        ({"poses": np.zeros((0, 156))}, "no frames"),
        ({"poses": NAN}, "'poses' is not a number in 1 frames, the first is 3"),
        ({"poses": GOOD, "trans": INFINITE}, "'trans' is not a number in 1 frames, the first is 4"),
        ({"poses": GOOD, "trans": columns(4, 3)}, r"'trans' is \[4, 3\], expected \[5, 3\]"),
        ({"root_orient": columns(5, 3), "pose_body": columns(4, 63)}, r"'pose_body' \[4, 63\]"),
        ({"root_orient": columns(5, 3), "pose_body": columns(5, 60)}, r"'pose_body' \[5, 60\]"),
        ({"root_orient": columns(5, 3), "pose_body": columns(5, 63) * np.nan}, "'pose_body' is not a number"),
        ({"poses": GOOD, "mocap_framerate": 0.0}, "'mocap_framerate' is 0.0"),
        ({"poses": GOOD, "mocap_framerate": np.nan}, "'mocap_framerate' is nan"),
        ({"poses": GOOD, "mocap_frame_rate": np.zeros(0)}, r"'mocap_frame_rate' is \[\]"),
        ({"poses": GOOD, "mocap_framerate": "fast"}, "'mocap_framerate' holds no numbers"),
    ],
)
def test_wrong_content_is_named(tmp_path: Path, arrays: dict, message: str) -> None:
    with pytest.raises(UserError, match=f"motion.npz.*{message}"):
        read_motion(save(tmp_path, **arrays))


def _whole(folder: Path) -> bytes:
    np.savez_compressed(folder / "whole.npz", poses=np.random.default_rng(0).random((200, 156)))
    return (folder / "whole.npz").read_bytes()


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "damaged", "npy", "zip", "folder", "missing"])
def test_no_motion_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "motion.npz"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("a motion")
    elif kind == "cut":
        path.write_bytes(_whole(tmp_path)[:-200])
    elif kind == "damaged":
        data = bytearray(_whole(tmp_path))
        data[5000:5200] = bytes([255]) * 200
        path.write_bytes(data)
    elif kind == "npy":
        np.save(tmp_path / "motion.npy", GOOD)
        path = tmp_path / "motion.npy"
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("poses", "text")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(UserError, match=f"{path.name}.*{'does not exist' if kind == 'missing' else ''}"):
        read_motion(path)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.mkdir, (self.path,)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    motion = read_motion(save(tmp_path, poses=GOOD, markers_latent_vids=trap))  # as in AMASS's SMPL-X files
    assert_close(motion.body_pose[:, :63], torch.from_numpy(GOOD[:, 3:66]).float())
    with pytest.raises(UserError, match="motion.npz: 'poses' holds Python objects"):
        read_motion(save(tmp_path, poses=trap))
    with pytest.raises(UserError, match="motion.npz: 'trans' holds Python objects"):
        read_motion(save(tmp_path, poses=GOOD, trans=trap))
    pickled = tmp_path / "motion.pkl"
    pickled.write_bytes(trap.dumps())
    with pytest.raises(UserError, match="motion.pkl was refused"):
        read_motion(pickled)
    assert not (tmp_path / "sprung").exists()
    np.load(pickled, allow_pickle=True)  # the trap works
    assert (tmp_path / "sprung").exists()
