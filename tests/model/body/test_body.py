"""Skinning against arithmetic, the reference's numbers and smplx; labels; rotations."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from support import ROOT

from ag3d.core.errors import UserError
from ag3d.model.body import label as labels
from ag3d.model.body.body import JOINTS, PARENTS, Body
from ag3d.model.body.rotation import (
    axis_angle_to_matrix,
    compose_axis_angles,
    matrix_to_axis_angle,
    matrix_to_quaternion,
)

PARITY = ROOT.parent / "shared" / "parity"


def random_parameters(batch: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "betas": draw(batch, 10),
        "body_pose": 0.4 * draw(batch, 69),
        "global_orient": draw(batch, 3),
        "transl": 0.3 * draw(batch, 3),
    }


def blended(body: Body, seed: int = 0) -> Body:
    """The same mesh with dense skinning weights and pose corrections, so that no term of the arithmetic is idle."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.softmax(4 * torch.randn(len(body.v_template), 24, generator=generator), dim=1)
    posedirs = 0.01 * torch.randn(207, 3 * len(body.v_template), generator=generator)
    return replace(body, weights=weights, posedirs=posedirs)


def test_zero_pose_is_template_moved(tiny_body: Body) -> None:
    move = torch.tensor([[0.1, -0.2, 0.3]])
    out = tiny_body(torch.zeros(1, 10), torch.zeros(1, 69), torch.zeros(1, 3), move)
    torch.testing.assert_close(out.vertices[0], tiny_body.v_template + move, atol=1e-6, rtol=0)
    torch.testing.assert_close(out.joints[0], tiny_body.J_regressor @ tiny_body.v_template + move, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.landmarks, out.vertices[:, tiny_body.landmark_vertices])


def test_bent_elbow_moves_only_what_hangs_on_it(tiny_body: Body) -> None:
    body_pose = torch.zeros(1, 23, 3)
    body_pose[0, JOINTS.index("left_elbow") - 1, 1] = -math.pi / 2  # about y (up): the forearm, along +x, turns to +z
    out = tiny_body(torch.zeros(1, 10), body_pose.flatten(1), torch.zeros(1, 3), torch.zeros(1, 3))
    rest = tiny_body.rest_joints(torch.zeros(1, 10))[0]
    elbow, wrist = JOINTS.index("left_elbow"), JOINTS.index("left_wrist")
    length = rest[wrist, 0] - rest[elbow, 0]
    assert float(out.joints[0, wrist, 2] - rest[elbow, 2]) == pytest.approx(float(length), abs=1e-4)
    moved = (out.vertices[0] - tiny_body.v_template).norm(dim=1) > 1e-5
    arm = tiny_body.weights[:, [elbow, wrist, JOINTS.index("left_hand")]].sum(1) > 0
    assert arm.any()
    assert not moved[~arm].any()
    assert moved[arm].float().mean() > 0.9


def test_transforms_carry_shaped_template_to_vertices(tiny_body: Body) -> None:
    body, parameters = blended(tiny_body), random_parameters(3)
    parameters["body_pose"] = torch.zeros(3, 69)  # no pose correction
    scale = torch.tensor([0.8, 1.0, 1.3])
    out = body(**parameters, scale=scale)
    shaped = body.v_template + torch.einsum("bs,vcs->bvc", parameters["betas"], body.shapedirs)
    matrices = torch.einsum("vj,bjrc->bvrc", body.weights, out.transforms)
    carried = (matrices[..., :3, :3] @ shaped[..., None]).squeeze(-1) + matrices[..., :3, 3]
    torch.testing.assert_close(carried, out.vertices, atol=1e-5, rtol=0)


def test_reference_scale_leaves_translations_of_transforms(tiny_body: Body) -> None:
    parameters, scale = random_parameters(2), torch.tensor([0.7, 1.4])
    ours = tiny_body(**parameters, scale=scale)
    reference = tiny_body(**parameters, scale=scale, reference_scale=True)
    plain = tiny_body(**parameters)
    torch.testing.assert_close(reference.vertices, ours.vertices)
    torch.testing.assert_close(reference.transforms[..., :3, :3], ours.transforms[..., :3, :3])
    torch.testing.assert_close(reference.transforms[..., :3, 3], plain.transforms[..., :3, 3])
    torch.testing.assert_close(ours.transforms[..., :3, 3], plain.transforms[..., :3, 3] * scale[:, None, None])


def test_gradients_reach_every_parameter(tiny_body: Body) -> None:
    parameters = {name: value[:1].double() for name, value in random_parameters(1).items()}
    parameters["body_pose"][0, :30] = 0  # zero rotations must have gradients too
    for value in parameters.values():
        value.requires_grad_(True)
    double = blended(tiny_body).map(lambda value: value.double() if value.is_floating_point() else value)
    small = double.subset(torch.arange(0, len(tiny_body.v_template), 97))

    def vertices(*values: torch.Tensor) -> torch.Tensor:
        return small(*values).vertices

    assert torch.autograd.gradcheck(vertices, tuple(parameters.values()), eps=1e-6, atol=1e-5)


def test_subset_agrees_with_whole(tiny_body: Body) -> None:
    body, parameters = blended(tiny_body), random_parameters(2)
    chosen = torch.tensor([5, 0, 200])
    torch.testing.assert_close(
        body.subset(chosen)(**parameters).vertices, body(**parameters).vertices[:, chosen], atol=1e-5, rtol=0
    )


def test_parity_with_reference() -> None:
    if not (PARITY / "tiny128.npz").exists():
        pytest.skip("the reference's recorded numbers are not at hand")
    with np.load(PARITY / "tiny128.npz") as archive:
        recorded = {key: torch.from_numpy(archive[key]) for key in ("label", "body/vertices", "body/joints", "body/A")}
    out = Body.load(PARITY / "body.npz").from_label(recorded["label"], reference_scale=True)
    torch.testing.assert_close(out.vertices, recorded["body/vertices"], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        torch.cat([out.joints, out.landmarks], dim=1), recorded["body/joints"], atol=1e-5, rtol=0
    )
    torch.testing.assert_close(out.transforms, recorded["body/A"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("corrections", [False, True], ids=["plain", "posedirs"])
def test_parity_with_smplx(tiny_body: Body, corrections: bool) -> None:
    lbs = pytest.importorskip("smplx.lbs").lbs
    body = blended(tiny_body) if corrections else tiny_body
    _compare_with_smplx(lbs, body, posedirs=body.posedirs)


def test_open_body_parity_with_smplx(open_body: Body) -> None:
    _compare_with_smplx(pytest.importorskip("smplx.lbs").lbs, open_body, posedirs=None)


def _compare_with_smplx(lbs, body: Body, posedirs: torch.Tensor | None) -> None:
    parameters = random_parameters(3, seed=1)
    pose = torch.cat([parameters["global_orient"], parameters["body_pose"]], dim=1)
    posedirs = torch.zeros(207, body.v_template.numel()) if posedirs is None else posedirs
    arrays = (body.v_template, body.shapedirs, posedirs, body.J_regressor, torch.tensor(PARENTS), body.weights)
    vertices, joints = lbs(parameters["betas"], pose, *arrays)
    out = body(**parameters)
    torch.testing.assert_close(out.vertices, vertices + parameters["transl"][:, None], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.joints, joints + parameters["transl"][:, None], atol=1e-5, rtol=0)


def test_hash_is_of_the_model_not_of_the_file(tiny_body: Body, tiny_body_path: Path, tmp_path: Path) -> None:
    with np.load(tiny_body_path) as archive:
        arrays = dict(archive)
    np.savez_compressed(tmp_path / "again.npz", **arrays)
    assert Body.load(tmp_path / "again.npz").sha256 == tiny_body.sha256
    arrays["shapedirs"] = arrays["shapedirs"] * 1.001
    np.savez(tmp_path / "other.npz", **arrays)
    assert Body.load(tmp_path / "other.npz").sha256 != tiny_body.sha256
    corrected = replace(tiny_body, posedirs=torch.ones(207, tiny_body.v_template.numel()))
    assert corrected.sha256 != tiny_body.sha256


# ---- labels


def test_label_round_trip() -> None:
    parameters = random_parameters(4)
    packed = labels.pack(**{name: parameters[name] for name in ("transl", "global_orient", "body_pose", "betas")})
    assert packed.shape == (4, 111)
    parts = labels.split(packed)
    for name, value in parameters.items():
        assert torch.equal(getattr(parts, name), value)
    assert torch.equal(parts.scale, torch.ones(4))
    assert torch.equal(parts.pack(), packed)


def test_label_layout() -> None:
    number = torch.arange(111.0)[None]
    parts = labels.split(number)
    assert parts.cam2world[0, 1, 0] == 4
    assert parts.intrinsics[0, 0, 0] == 16
    assert parts.scale[0] == 25
    assert parts.transl[0, 0] == 26
    assert parts.global_orient[0, 0] == 29
    assert parts.body_pose[0, 0] == 32
    assert parts.betas[0].tolist() == list(range(101, 111))


def test_wrong_label_length_is_named() -> None:
    with pytest.raises(ValueError, match="111"):
        labels.split(torch.zeros(2, 110))


def test_camera_shows_the_unit_square() -> None:
    cam2world, intrinsics = labels.camera(1)
    points = torch.tensor([[-1.0, -1, 0], [1, 1, 0], [0.5, 0, 0]])
    inside = points - cam2world[0, :3, 3]
    pixels = (intrinsics[0] @ inside.T).T
    torch.testing.assert_close(pixels[:, :2] / pixels[:, 2:], torch.tensor([[0.0, 0], [1, 1], [0.75, 0.5]]))


def test_canonical_label_stands_upright_facing_the_camera(tiny_body: Body) -> None:
    out = tiny_body.from_label(labels.canonical_label())
    joint = {name: out.joints[0, index] for index, name in enumerate(JOINTS)}
    assert joint["head"][1] < joint["pelvis"][1] < joint["left_foot"][1]  # y points down
    assert joint["left_hand"][0] > 0 > joint["right_hand"][0]  # the subject's left is the image's right
    assert out.landmarks[0, 0, 2] < joint["head"][2]  # the nose is nearer to the camera than the head's centre


def test_mirrored_label_mirrors_the_body(tiny_body: Body) -> None:
    parameters = random_parameters(2)
    packed = labels.pack(**{name: parameters[name] for name in ("transl", "global_orient", "body_pose", "betas")})
    joints, mirrored = tiny_body.from_label(packed).joints, tiny_body.from_label(labels.mirror(packed)).joints
    other = [JOINTS.index(_other_side(name)) for name in JOINTS]
    torch.testing.assert_close(mirrored[:, other] * torch.tensor([-1.0, 1, 1]), joints, atol=2e-4, rtol=0)
    torch.testing.assert_close(labels.mirror(labels.mirror(packed)), packed)


def _other_side(name: str) -> str:
    side = {"left": "right", "right": "left"}
    first, _, rest = name.partition("_")
    return f"{side[first]}_{rest}" if first in side else name


# ---- rotations


def test_axis_angle_agrees_with_scipy() -> None:
    vectors = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).double() * 2
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(axis_angle_to_matrix(vectors).numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("angle", [0.0, 1e-7, 1e-4, 0.5, 2.0, 3.1, math.pi - 1e-5])
def test_rotation_round_trip(angle: float) -> None:
    axes = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(1)).double(), dim=1)
    back = matrix_to_axis_angle(axis_angle_to_matrix(axes * angle))
    torch.testing.assert_close(back, axes * angle, atol=5e-7, rtol=0)


def test_half_turn_round_trip() -> None:
    for axis in torch.eye(3).double():
        matrix = 2 * torch.outer(axis, axis) - torch.eye(3).double()
        vector = matrix_to_axis_angle(matrix)
        assert float(vector.norm()) == pytest.approx(math.pi)
        torch.testing.assert_close(axis_angle_to_matrix(vector), matrix, atol=1e-6, rtol=0)


def test_quaternions_are_unit_and_positive() -> None:
    matrices = axis_angle_to_matrix(3 * torch.randn(100, 3, generator=torch.Generator().manual_seed(2)).double())
    quaternions = matrix_to_quaternion(matrices)
    torch.testing.assert_close(quaternions.norm(dim=1), torch.ones(100).double())
    assert bool((quaternions[:, 0] >= 0).all())
    expected = Rotation.from_matrix(matrices.numpy()).as_quat(canonical=True, scalar_first=True)
    np.testing.assert_allclose(quaternions.numpy(), expected, atol=1e-6)


def test_compose_is_the_product() -> None:
    first, second = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(3)).double()
    expected = axis_angle_to_matrix(first) @ axis_angle_to_matrix(second)
    torch.testing.assert_close(axis_angle_to_matrix(compose_axis_angles(first, second)), expected, atol=1e-6, rtol=0)


def test_wrong_shape_is_a_user_error(tiny_body_path: Path, tmp_path: Path) -> None:
    with np.load(tiny_body_path) as archive:
        arrays = dict(archive)
    arrays["weights"] = arrays["weights"][:, :20]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(UserError, match="weights"):
        Body.load(tmp_path / "bad.npz")
