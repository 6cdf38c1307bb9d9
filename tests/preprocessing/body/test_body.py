"""The open body: its build's arithmetic, and the built file as a body that people can be made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from support.tiny_body import tiny_body_arrays

from ag3d.model.body import label as labels
from ag3d.model.body.body import JOINTS, PARENTS, Body
from ag3d.model.rendering.rasterizer import render_normals
from ag3d.preprocessing.body import stage as stage
from ag3d.preprocessing.body.makehuman import joint_of
from ag3d.preprocessing.body.rest_pose import zero_pose
from ag3d.preprocessing.body.smooth_patch import patch
from ag3d.preprocessing.body.stage import shape_space

GARMENTS = ("tights", "skirt", "hair")


def joint(body: Body, name: str) -> np.ndarray:
    return body.rest_joints(torch.zeros(1, 10))[0, JOINTS.index(name)].numpy()


# ---- arithmetic, without any data


@pytest.mark.parametrize(
    ("bone", "name"),
    [
        ("upperleg02.L", "left_hip"),
        ("lowerarm01.R", "right_elbow"),
        ("finger3-2.L", "left_hand"),
        ("metacarpal2.R", "right_wrist"),
        ("toe2-1.R", "right_foot"),
        ("spine05", "pelvis"),
        ("neck02", "neck"),
        ("jaw", "head"),
        ("eye.L", "head"),
    ],
)
def test_bones_map_to_joints(bone: str, name: str) -> None:
    assert joint_of(bone) == name


def test_zero_pose_straightens_limbs_and_keeps_lengths() -> None:
    generator = np.random.default_rng(0)
    arrays = tiny_body_arrays()
    joints = (arrays["J_regressor"] @ arrays["v_template"]).astype(float) + generator.normal(size=(24, 3)) * 0.02
    vertices, weights = arrays["v_template"].astype(float), arrays["weights"].astype(float)
    across = {"left": np.array([0.3, -0.2, 0.9]), "right": np.array([-0.1, 0.2, 0.9])}
    posed, placed = zero_pose(vertices, joints, weights, across)
    for child, parent in enumerate(PARENTS):
        if parent >= 0:
            before, after = joints[child] - joints[parent], placed[child] - placed[parent]
            assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before))
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, elbow, wrist = (placed[JOINTS.index(f"{side}_{n}")] for n in ("shoulder", "elbow", "wrist"))
        for bone in (elbow - shoulder, wrist - elbow):
            np.testing.assert_allclose(bone / np.linalg.norm(bone), [sign, 0, 0], atol=1e-9)
    hand = np.flatnonzero(weights[:, JOINTS.index("left_hand")] == 1)[:2]  # a rigid part keeps its distances
    assert np.linalg.norm(np.subtract(*posed[hand])) == pytest.approx(np.linalg.norm(np.subtract(*vertices[hand])))


def test_shape_space_recovers_what_made_the_samples() -> None:
    generator = np.random.default_rng(0)
    mean, directions = generator.normal(size=(40, 3)), generator.normal(size=(40, 3, 10))
    betas = generator.normal(size=(200, 10))
    vertices = mean + np.einsum("sk,nck->snc", betas, directions)
    found_mean, found, explained = shape_space(vertices, np.arange(30))  # the other ten only follow
    assert explained == pytest.approx(1.0)
    coefficients = np.linalg.lstsq(found[:30].reshape(90, 10), (vertices - found_mean)[:, :30].reshape(200, 90).T)[0]
    np.testing.assert_allclose(coefficients.std(axis=1, ddof=1), 1, atol=1e-6)
    rebuilt = found_mean + np.einsum("ks,nck->snc", coefficients, found)
    np.testing.assert_allclose(rebuilt, vertices, atol=1e-8)


def test_patch_is_exact_on_smooth_surfaces_and_flattens_bumps() -> None:
    u, v = np.meshgrid(np.linspace(-0.1, 0.1, 41), np.linspace(-0.1, 0.1, 41))
    smooth = np.stack([u, v, 0.5 * u**2 - 3 * u * v * v + 0.2 * v], axis=-1).reshape(-1, 3)
    distance = np.hypot(u, v).ravel()
    bumpy = smooth + np.array([0, 0, 0.004]) * np.exp(-((distance / 0.005) ** 2))[:, None]
    found = patch(bumpy, 41 * 41 // 2, 0.03)
    vertices = bumpy[None].copy()
    found.apply(vertices)
    assert np.abs(bumpy - smooth).max() > 0.0039
    x, y, z = vertices[0].T
    assert np.abs(z - (0.5 * x**2 - 3 * x * y * y + 0.2 * y)).max() < 1e-4
    untouched = np.setdiff1d(np.arange(len(smooth)), found.inside)
    assert np.array_equal(vertices[0, untouched], bumpy[untouched])


# ---- the built body


def test_it_stands_as_smpl_does(open_body: Body) -> None:
    """T-pose, y up, front +z, the subject's left +x, metres."""
    vertices = open_body.v_template.numpy()
    assert 1.55 < np.ptp(vertices[:, 1]) < 1.85
    assert 1.5 < np.ptp(vertices[:, 0]) < 1.9  # arms out
    assert np.ptp(vertices[:, 2]) < 0.45
    assert joint(open_body, "left_hand")[0] > 0.6
    assert joint(open_body, "head")[1] > joint(open_body, "pelvis")[1] > joint(open_body, "left_foot")[1]
    assert joint(open_body, "left_foot")[2] > joint(open_body, "left_ankle")[2] + 0.08  # toes ahead
    for side in ("left", "right"):
        heights = [joint(open_body, f"{side}_{n}")[1] for n in ("shoulder", "elbow", "wrist", "hand")]
        assert np.ptp(heights) < 0.02


def test_palms_face_down(open_body: Body) -> None:
    wrist, hand = joint(open_body, "left_wrist"), joint(open_body, "left_hand")
    own = open_body.weights[:, JOINTS.index("left_hand")].numpy() > 0.9
    fingers = open_body.v_template.numpy()[own]
    spread = fingers - fingers.mean(axis=0)
    normal = np.linalg.svd(spread, full_matrices=False)[2][2]
    assert abs(normal[1]) > 0.75  # the flat hand lies level
    thumb = fingers[fingers[:, 2].argmax()]
    assert thumb[2] > hand[2] + 0.03  # thumb ahead
    assert thumb[0] < hand[0] + 0.05
    assert hand[0] > wrist[0]


def test_landmarks_lie_on_the_face(open_body: Body) -> None:
    nose, right_eye, left_eye, right_ear, left_ear = open_body.v_template[open_body.landmark_vertices].numpy()
    assert abs(nose[0]) < 0.005
    assert left_eye[0] > 0.02 > -0.02 > right_eye[0]
    assert left_ear[0] > 0.06 > -0.06 > right_ear[0]
    assert nose[2] > left_eye[2] > left_ear[2]
    assert left_eye[1] > nose[1] > joint(open_body, "neck")[1]


def test_left_and_right_are_mirror_images(open_body: Body) -> None:
    vertices = open_body.v_template.numpy()
    tree = cKDTree(vertices)
    distance, other = tree.query(vertices * [-1, 1, 1])
    assert distance.max() < 1e-3
    swap = [JOINTS.index(n.replace("left", "*").replace("right", "left").replace("*", "right")) for n in JOINTS]
    weights = open_body.weights.numpy()
    assert np.abs(weights[other][:, swap] - weights).max() < 0.05
    joints = open_body.rest_joints(torch.zeros(1, 10))[0].numpy()
    np.testing.assert_allclose(joints[swap] * [-1, 1, 1], joints, atol=1e-3)


def test_mesh_is_closed_and_faces_outwards(open_body: Body) -> None:
    faces = open_body.faces.numpy()
    directed = np.concatenate([faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    forward = {tuple(edge) for edge in directed.tolist()}
    assert len(forward) == len(directed)  # no edge is passed twice in one direction
    assert all((b, a) in forward for a, b in forward)  # and each is passed in the other
    a, b, c = open_body.v_template.double().numpy()[faces].transpose(1, 0, 2)
    volume = np.einsum("fc,fc->", a, np.cross(b, c)) / 6
    assert 0.045 < volume < 0.11  # cubic metres: a person; negative if faces looked inwards


def test_weights_and_regressor_are_convex(open_body: Body) -> None:
    for rows in (open_body.weights, open_body.J_regressor):
        assert float(rows.min()) >= 0
        torch.testing.assert_close(rows.sum(1), torch.ones(len(rows)), atol=1e-5, rtol=0)
    assert bool((open_body.weights.max(0).values > 0.4).all())  # every joint moves something


def test_first_beta_is_size_and_betas_shrink(open_body: Body) -> None:
    small, large = (open_body(*_rest(betas=value)).vertices[0, :, 1] for value in (-2.0, 2.0))
    assert float(np.ptp(large.numpy()) - np.ptp(small.numpy())) > 0.15
    spread = open_body.shapedirs.square().sum((0, 1))
    assert bool((spread[:-1] >= spread[1:]).all())


def _rest(betas: float = 0.0) -> tuple[torch.Tensor, ...]:
    first = torch.zeros(1, 10)
    first[0, 0] = betas
    return first, torch.zeros(1, 69), torch.zeros(1, 3), torch.zeros(1, 3)


POSES = {
    "arms down": {"left_shoulder": (0, 0, -1.2), "right_shoulder": (0, 0, 1.2)},
    "walking": {"left_hip": (-0.6, 0, 0), "right_hip": (0.4, 0, 0), "right_knee": (0.8, 0, 0)},
    "sitting": {f"{side}_{j}": (x, 0, 0) for side in ("left", "right") for j, x in (("hip", -1.4), ("knee", 1.5))},
}


@pytest.mark.parametrize("name", POSES)
def test_skinning_does_not_tear(open_body: Body, name: str) -> None:
    body_pose = torch.zeros(23, 3)
    for joint_name, rotation in POSES[name].items():
        body_pose[JOINTS.index(joint_name) - 1] = torch.tensor(rotation)
    betas, _, orient, transl = _rest()
    posed = open_body(betas, body_pose.view(1, 69), orient, transl).vertices[0]
    edges = torch.cat([open_body.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    before, after = ((v[edges[:, 0]] - v[edges[:, 1]]).norm(dim=1) for v in (open_body.v_template, posed))
    assert float((after - before).max()) < 0.05
    assert float((after / before.clamp_min(1e-2)).max()) < 3.5


def test_front_view(open_body: Body) -> None:
    vertices = open_body.from_label(labels.canonical_label()).vertices[0]
    normals, mask = render_normals(vertices, open_body.faces, 128)
    assert 0.08 < float(mask.float().mean()) < 0.2
    assert float(normals[mask][:, 2].min()) > -0.5
    assert float(normals[mask][:, 2].mean()) > 0.6
    assert float((mask.flip(1) == mask).float().mean()) > 0.99


def test_garments_follow_the_body(open_body: Body, open_body_path: Path) -> None:
    body_tree = cKDTree(open_body.v_template.numpy())
    with np.load(open_body_path.with_name("garments.npz")) as archive:
        for part in GARMENTS:
            vertices, shapedirs = archive[f"{part}_v_template"], archive[f"{part}_shapedirs"]
            index, value = archive[f"{part}_weights_index"], archive[f"{part}_weights_value"]
            np.testing.assert_allclose(np.bincount(index[0], value, len(vertices)), 1, atol=1e-5)
            assert index[1].max() < 24
            assert archive[f"{part}_faces"].max() == len(vertices) - 1
            assert archive[f"{part}_faces_uv"].max() == len(archive[f"{part}_uv"]) - 1
            assert archive[f"{part}_faces"].shape == archive[f"{part}_faces_uv"].shape
            if part == "tights":
                distance, nearest = body_tree.query(vertices)
                assert distance.max() < 0.03
                moved = shapedirs[:, :, 0] - open_body.shapedirs.numpy()[nearest, :, 0]
                assert np.abs(moved).max() < 0.02  # taller people's tights are longer


def test_record_tells_the_source(open_body_path: Path) -> None:
    told = json.loads(open_body_path.with_name("body.json").read_text())
    assert "CC0" in told["source"]["licence"]
    assert len(told["source"]["sha256"]) == 64
    assert told["vertices"] == len(np.load(open_body_path)["v_template"])
    assert told["variance_explained"] > 0.99
    assert max(told["joint_error_mm"].values()) < 25


@pytest.mark.slow
@pytest.mark.slow
def test_building_again_gives_the_same_bytes(
    open_body_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(name: str) -> tuple[str, str]:
        outputs = [tmp_path / f"{name}-{kind}" for kind in ("body.npz", "garments.npz", "body.json")]
        options = ["--output", outputs[0], "--garments", outputs[1], "--record", outputs[2], "--samples", 12]
        monkeypatch.setattr("sys.argv", ["body", *map(str, options)])
        stage.main()
        first, second = (hashlib.sha256(path.read_bytes()).hexdigest() for path in outputs[:2])
        return first, second

    assert made("once") == made("again")
