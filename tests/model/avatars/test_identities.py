"""Generated people: who a seed is, and that batches and order do not change anybody."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ag3d.core.errors import UserError
from ag3d.model.avatars.identities import People, canonical_labels, interpolate_labels, orbit_view, read_poses
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.model.generator import Generator


def render(people: People, label: torch.Tensor | None = None, planes: bool = False) -> dict[str, torch.Tensor]:
    parts = list(people.render(people.label if label is None else label, torch.arange(len(people)), people.planes() if planes else None))  # fmt: skip
    return {key: torch.cat([part[key] for part in parts]) for key in ("image", "image_raw", "image_normal", "opacity")}


def test_seeds_are_people(small_generator: Generator, pose_distribution: torch.Tensor) -> None:
    people = People(small_generator, pose_distribution, 5, 7, 1.0)
    assert people.seeds == [7, 8, 9, 10, 11]
    for first in range(5):
        for second in range(first):
            assert float((people.ws[first] - people.ws[second]).abs().max()) > 0.05
    assert len({tuple(row.tolist()) for row in people.label}) > 1
    assert all(any(torch.equal(row, pose) for pose in pose_distribution) for row in people.label)
    for index in (0, 3):  # a person does not depend on the others
        alone = People(small_generator, pose_distribution, 1, 7 + index, 1.0)
        assert_close(alone.ws[0], people.ws[index], atol=1e-6, rtol=0)
        assert torch.equal(alone.label[0], people.label[index])
    again = People(small_generator, pose_distribution, 5, 7, 1.0)
    assert torch.equal(again.ws, people.ws)
    assert torch.equal(again.label, people.label)


def test_people_look_different(small_generator: Generator, pose_distribution: torch.Tensor) -> None:
    people = People(small_generator, pose_distribution[:1], 3, 0, 1.0)
    image = render(people)["image"]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert float((image[first] - image[second]).abs().mean()) > 0.02


def test_truncation(small_generator: Generator, pose_distribution: torch.Tensor) -> None:
    mean, half, whole = (People(small_generator, pose_distribution[:1], 3, 0, psi) for psi in (0.0, 0.5, 1.0))
    average = small_generator.backbone.mapping.w_avg
    assert_close(mean.ws, average.expand_as(mean.ws))
    assert_close(half.ws, (whole.ws + average) / 2)
    image = render(mean)["image"]
    assert_close(image, image[:1].expand_as(image), atol=1e-5, rtol=0)  # one pose, one person


@pytest.mark.parametrize("planes", [False, True])
def test_the_batch_changes_nothing(small_generator: Generator, pose_distribution: torch.Tensor, planes: bool) -> None:
    one = render(People(small_generator, pose_distribution, 5, 0, 0.7, batch=1))
    for batch in (2, 5, 64):
        many = render(People(small_generator, pose_distribution, 5, 0, 0.7, batch=batch), planes=planes)
        for key, value in one.items():
            assert_close(many[key], value, atol=5e-5, rtol=0)


def test_little_memory_halves_the_batch(small_generator: Generator, pose_distribution: torch.Tensor, monkeypatch) -> None:  # fmt: skip
    people = People(small_generator, pose_distribution, 5, 0, 0.7, batch=4)
    expected, sizes = render(people), []
    synthesis = small_generator.synthesis

    def limited(ws: torch.Tensor, label: torch.Tensor, **more) -> dict[str, torch.Tensor]:
        sizes.append(len(ws))
        if len(ws) > limit:
            raise torch.OutOfMemoryError
        return synthesis(ws, label, **more)

    monkeypatch.setattr(small_generator, "synthesis", limited)
    limit = 2
    assert_close(render(people)["image"], expected["image"], atol=1e-5, rtol=0)
    assert sizes == [4, 2, 2, 1]
    limit = 0
    with pytest.raises(UserError, match="memory"):
        render(people)


def test_canonical_people_hold_their_arms_out(small_generator: Generator, pose_distribution: torch.Tensor) -> None:
    people = People(small_generator, pose_distribution, 4, 0, 0.7)
    label = canonical_labels(people)
    assert_close(label, labels.canonical_label(4, people.betas))
    assert len(people.betas.unique(dim=0)) > 1


# ---- cameras


def seen(body: Body, label: torch.Tensor) -> torch.Tensor:
    """Where the joints are in the image, [B,24,2]."""
    parts = labels.split(label)
    local = (body.from_label(label).joints - parts.cam2world[:, None, :3, 3]) @ parts.cam2world[:, :3, :3]
    pixels = local @ parts.intrinsics.transpose(1, 2)
    return pixels[..., :2] / pixels[..., 2:]


def network(body: Body, body_bounds: bool) -> Generator:
    """All that `turned` asks of a generator."""
    departures = SimpleNamespace(body_bounds=body_bounds)
    return SimpleNamespace(body=body, settings=SimpleNamespace(departures=departures))  # type: ignore[return-value]


@pytest.mark.parametrize("angle", [0.0, 0.4, math.pi / 2, math.pi, 5.0])
def test_cameras_go_round_as_bodies_turn(tiny_body: Body, pose_distribution: torch.Tensor, angle: float) -> None:
    """The camera's way round and the reference's way, which turns the body, show the same."""
    label = pose_distribution.clone()
    label[:, 26:29] += torch.tensor([0.2, 0.05, 0.0])
    by_camera = orbit_view(label, angle, network(tiny_body, body_bounds=True))
    by_body = orbit_view(label, angle, network(tiny_body, body_bounds=False))
    assert_close(by_camera[:, 25:], label[:, 25:])
    assert_close(by_body[:, :29], label[:, :29])
    assert_close(seen(tiny_body, by_camera), seen(tiny_body, by_body), atol=1e-3, rtol=0)
    moved = float((seen(tiny_body, by_camera) - seen(tiny_body, label)).abs().max())
    assert moved > 0.04 if angle else moved < 1e-4


def test_the_camera_goes_to_the_subjects_right(tiny_body: Body) -> None:
    """At a positive angle the right hand is nearer by as much as the angle says."""
    label = orbit_view(labels.canonical_label(), 0.5, network(tiny_body, body_bounds=True))
    parts, joints = labels.split(label), tiny_body.from_label(label).joints[0]
    depth = (joints - parts.cam2world[0, :3, 3]) @ parts.cam2world[0, :3, 2]
    across = float((joints[22] - joints[23]).norm())
    assert float(depth[22] - depth[23]) == pytest.approx(math.sin(0.5) * across, abs=1e-3)


# ---- between people


def test_blends_end_at_both(pose_distribution: torch.Tensor) -> None:
    first, second = pose_distribution[:2], pose_distribution[2:4]
    for share, end in ((0.0, first), (1.0, second)):
        mixed = interpolate_labels(first, second, share)
        keep = [*range(29), *range(101, 111)]
        assert_close(mixed[:, keep], end[:, keep])
        turns = [axis_angle_to_matrix(label[:, 29:101].reshape(-1, 24, 3)) for label in (mixed, end)]
        assert_close(turns[0], turns[1], atol=1e-5, rtol=0)


def test_blends_take_the_shorter_way() -> None:
    """Upright bodies turned by 170° and by -170° pass the back view, not the front."""
    first, second = labels.canonical_label(), labels.canonical_label(betas=torch.ones(1, 10))
    first[0, 29:32] = torch.tensor([0, math.radians(170), 0])
    second[0, 29:32] = torch.tensor([0, math.radians(-170), 0])
    second[0, 35] = 0.8
    middle = interpolate_labels(first, second, 0.5)
    back = axis_angle_to_matrix(torch.tensor([0, math.pi, 0]))
    assert_close(axis_angle_to_matrix(middle[0, 29:32]), back, atol=1e-5, rtol=0)
    assert float(middle[0, 35]) == pytest.approx(0.4, abs=1e-5)
    assert_close(middle[0, 101:], torch.full((10,), 0.5))


# ---- pose distributions


@pytest.mark.parametrize("kind", ["missing", "text", "shape", "empty", "nan", "npz", "words", "objects"])
def test_wrong_pose_distribution_is_named(tmp_path: Path, pose_distribution: torch.Tensor, kind: str) -> None:
    path, poses = tmp_path / "poses.npy", pose_distribution.numpy().copy()
    if kind == "text":
        path.write_text("poses")
    elif kind == "npz":
        path = tmp_path / "poses.npz"
        np.savez(path, poses=poses)
    elif kind != "missing":
        poses[2, 3] = np.nan if kind == "nan" else 0
        content = {"shape": poses[:, :110], "empty": poses[:0], "nan": poses, "words": np.array([["a"] * 111]), "objects": np.array([[None] * 111])}  # fmt: skip
        np.save(path, content[kind])
    with pytest.raises(UserError, match=path.name):
        read_poses(path)


def test_poses_come_back(poses_path: Path, pose_distribution: torch.Tensor) -> None:
    assert torch.equal(read_poses(poses_path), pose_distribution)


@pytest.mark.parametrize("kind", ["float64", "float16", ">f4", "fortran"])
def test_poses_of_any_number_type(tmp_path: Path, pose_distribution: torch.Tensor, kind: str) -> None:
    poses = pose_distribution.numpy()
    stored = np.asfortranarray(poses) if kind == "fortran" else poses.astype(kind)
    np.save(tmp_path / "dp_pose_dist.npy", stored)
    found = read_poses(tmp_path / "dp_pose_dist.npy")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pose_distribution, atol=0.06 if kind == "float16" else 0, rtol=0)


def test_poses_beyond_single_precision_are_refused(tmp_path: Path, pose_distribution: torch.Tensor) -> None:
    poses = pose_distribution.double().numpy()
    poses[1, 7] = 1e300
    np.save(tmp_path / "poses.npy", poses)
    with pytest.raises(UserError, match="poses.npy"):
        read_poses(tmp_path / "poses.npy")
