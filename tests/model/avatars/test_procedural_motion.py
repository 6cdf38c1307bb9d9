"""The built-in motions: files in AMASS's layout that move as a person does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ag3d.model.avatars.motion import Motion, motion_from, read_motion
from ag3d.model.avatars.motion_sources import BUILT_IN, built_in, walk_motion
from ag3d.model.body.body import JOINTS, Body, BodyOutput
from ag3d.model.body.rotation import axis_angle_to_matrix

FPS, CYCLE = 40, 44  # 1.1 seconds of two steps
MIRROR = torch.tensor([1.0, -1.0, -1.0])
OTHER = [
    JOINTS.index(name.replace("left", "r*ght").replace("right", "left").replace("r*ght", "right")) for name in JOINTS
]


@pytest.fixture(scope="module")
def walk() -> Motion:
    return motion_from(walk_motion(cycles=2, fps=FPS), "walk")


def bodies(body: Body, motion: Motion) -> BodyOutput:
    """In AMASS's world, z up."""
    return body(torch.zeros(len(motion), 10), motion.body_pose, motion.global_orient, motion.trans)


@pytest.fixture(scope="module")
def walkers(tiny_body: Body, walk: Motion) -> BodyOutput:
    return bodies(tiny_body, walk)


def along(output: BodyOutput, joint: str) -> torch.Tensor:
    """How far a joint is ahead of the pelvis, [F]."""
    return -(output.joints[:, JOINTS.index(joint), 1] - output.joints[:, 0, 1])


def soles(body: Body, output: BodyOutput) -> torch.Tensor:
    """Height of the lowest vertex of the left and the right foot, [F,2]."""
    joint = body.weights.argmax(1)
    feet = [(joint == JOINTS.index(f"{side}_foot")) | (joint == JOINTS.index(f"{side}_ankle")) for side in ("left", "right")]  # fmt: skip
    return torch.stack([output.vertices[:, foot, 2].amin(1) for foot in feet], dim=1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_files_are_as_amass_has_them(tmp_path: Path, name: str) -> None:
    arrays = BUILT_IN[name](fps=60)
    frames = len(arrays["poses"])
    assert {key: value.shape for key, value in arrays.items()} == {
        "poses": (frames, 156),
        "trans": (frames, 3),
        "betas": (16,),
        "mocap_framerate": (),
        "gender": (),
    }
    assert not arrays["poses"][:, 66:].any()  # hands at rest
    np.savez(tmp_path / "motion.npz", **arrays)
    motion = read_motion(tmp_path / "motion.npz")
    assert motion.fps == 60
    assert_close(motion.body_pose[:, :63].double(), torch.from_numpy(arrays["poses"][:, 3:66]), atol=1e-6, rtol=0)
    assert len(built_in(name)) == len(BUILT_IN[name]()["poses"])


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_end_joins_the_beginning(tiny_body: Body, name: str) -> None:
    motion = built_in(name)
    motion.trans[:, 1] = 0
    joints = bodies(tiny_body, motion).joints
    steps = (joints.roll(-1, 0) - joints).norm(dim=-1).amax(1)  # the last is from the end to the beginning
    assert 0.003 < float(steps.max()) < 0.2  # it moves, and never jumps
    assert float(steps[-1]) < 1.2 * float(steps[:-1].max())


def test_the_walk_is_periodic(walk: Motion) -> None:
    assert len(walk) == 2 * CYCLE
    assert_close(walk.body_pose[:CYCLE], walk.body_pose[CYCLE:], atol=1e-6, rtol=0)
    assert_close(walk.global_orient[:CYCLE], walk.global_orient[CYCLE:], atol=1e-6, rtol=0)
    gone = walk.trans[CYCLE:] - walk.trans[:CYCLE]
    assert_close(gone, torch.tensor([0, -1.32, 0]).expand(CYCLE, 3), atol=1e-6, rtol=0)


def test_half_a_period_later_the_sides_are_exchanged(walk: Motion) -> None:
    turns = torch.cat([walk.global_orient, walk.body_pose], dim=1).view(-1, 24, 3)
    mirrored = turns[:, OTHER] * MIRROR
    half = CYCLE // 2
    assert_close(axis_angle_to_matrix(mirrored[:-half]), axis_angle_to_matrix(turns[half:]), atol=1e-5, rtol=0)
    assert_close(-walk.trans[:-half, 0], walk.trans[half:, 0], atol=1e-6, rtol=0)
    assert_close(walk.trans[:-half, 2], walk.trans[half:, 2], atol=1e-6, rtol=0)
    assert float((axis_angle_to_matrix(turns[0]) - axis_angle_to_matrix(mirrored[0])).abs().max()) > 0.2


def test_the_body_goes_where_it_faces(walk: Motion) -> None:
    front = axis_angle_to_matrix(walk.global_orient)[:, :, 2]
    velocity = walk.trans[1:] - walk.trans[:-1]
    assert bool((front[:, 1] < -0.98).all())
    assert bool((velocity[:, 1] < -0.9 * 1.2 / FPS).all())
    assert float(velocity[:, [0, 2]].abs().max()) < 0.5 / FPS


def test_feet_carry_in_turns(tiny_body: Body, walkers: BodyOutput) -> None:
    height = soles(tiny_body, walkers)
    standing = height.argmin(1)
    changes = int((standing != standing.roll(1)).sum())
    assert changes == 4  # two for every cycle
    assert float((standing == 0).float().mean()) == pytest.approx(0.5)
    assert float((height.amax(1) - height.amin(1)).max()) > 0.08  # the other is lifted
    assert float(height.amin(1).abs().max()) < 0.06  # the ground is near z = 0
    assert float(height.amin(1).max() - height.amin(1).min()) < 0.015  # and flat
    beside = walkers.joints[:, [JOINTS.index("left_foot"), JOINTS.index("right_foot")], 0]
    carrying = beside.gather(1, standing[:, None])[:, 0]
    assert float((walkers.joints[:, 0, 0] * carrying).mean()) > 0  # the body is over the foot that stands


def test_the_standing_foot_stays(tiny_body: Body, walkers: BodyOutput) -> None:
    standing = soles(tiny_body, walkers).argmin(1)
    ankles = walkers.joints[:, [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")], 1]
    speed = (ankles[1:] - ankles[:-1]) * FPS
    still = (standing[1:] == standing[:-1])[:, None]
    standing = standing[:-1, None]
    assert float(speed.gather(1, standing)[still].abs().mean()) < 0.3
    assert float(speed.gather(1, 1 - standing)[still].mean()) < -1.8


def test_arms_swing_against_the_legs(walkers: BodyOutput) -> None:
    for side in ("left", "right"):
        hand, foot = along(walkers, f"{side}_hand"), along(walkers, f"{side}_ankle")
        assert float(torch.corrcoef(torch.stack([hand, foot]))[0, 1]) < -0.7
        assert float(hand.max() - hand.min()) > 0.2
        height = walkers.joints[:, JOINTS.index(f"{side}_hand"), 2] - walkers.joints[:, JOINTS.index(f"{side}_shoulder"), 2]  # fmt: skip
        assert float(height.max()) < -0.3  # they hang
    hips = walkers.joints[:, JOINTS.index("left_hip"), 1] - walkers.joints[:, JOINTS.index("right_hip"), 1]
    assert float(torch.corrcoef(torch.stack([-hips, along(walkers, "left_ankle")]))[0, 1]) > 0.5


def test_joints_bend_as_they_can(walk: Motion) -> None:
    pose = walk.body_pose.view(-1, 23, 3)
    for side in ("left", "right"):
        knee = pose[:, JOINTS.index(f"{side}_knee") - 1, 0]
        assert 0 < float(knee.min()) < 0.3
        assert 0.8 < float(knee.max()) < 1.3
        elbow = pose[:, JOINTS.index(f"{side}_elbow") - 1, 1]
        assert bool(((elbow if side == "right" else -elbow) > 0).all())


def test_other_speeds_walk_alike() -> None:
    slow = walk_motion(cycles=1, fps=20, period=2.2)
    assert len(slow["poses"]) == 44
    fast = walk_motion(cycles=1, fps=FPS)
    np.testing.assert_allclose(slow["poses"], fast["poses"], atol=1e-12)
    np.testing.assert_allclose(slow["trans"], fast["trans"], atol=1e-12)


def test_waving(tiny_body: Body) -> None:
    out = bodies(tiny_body, built_in("wave"))
    place = {name: out.joints[:, JOINTS.index(name)] for name in JOINTS}
    assert bool((place["right_hand"][:, 2] > place["right_shoulder"][:, 2] + 0.1).all())
    assert bool((place["left_hand"][:, 2] < place["left_shoulder"][:, 2] - 0.3).all())
    assert float(place["right_hand"][:, 0].max() - place["right_hand"][:, 0].min()) > 0.1
    for foot in ("left_foot", "right_foot"):
        assert_close(place[foot], place[foot][:1].expand_as(place[foot]))
    assert abs(float(out.vertices[..., 2].min())) < 0.06
