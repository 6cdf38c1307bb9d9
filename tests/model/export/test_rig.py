"""Rigged avatars: read back by the specification alone, their animations move the surface as the deformer does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes
from support import ROOT
from support.gltf_file import GltfFile

from ag3d.core.errors import UserError
from ag3d.model.avatars.identities import People
from ag3d.model.avatars.mesh import canonical_mesh
from ag3d.model.avatars.motion import Motion, motion_labels
from ag3d.model.avatars.motion_sources import built_in
from ag3d.model.body.body import JOINTS, PARENTS
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.model.export import clips, rig
from ag3d.model.export.clips import make_clip, read_clips
from ag3d.model.export.texture import textured
from ag3d.model.generator import Generator

FPS = 20


@pytest.fixture(scope="module")
def people(small_generator: Generator, pose_distribution: torch.Tensor) -> People:
    return People(small_generator, pose_distribution, 1, 0, 1.0)


@pytest.fixture(scope="module")
def mesh(people: People) -> trimesh.Trimesh:
    return canonical_mesh(people.generator, people.planes(), 90, faces=6000)


@pytest.fixture(scope="module")
def avatar(people: People, mesh: trimesh.Trimesh) -> rig.Rig:
    return rig.rig(people.generator, mesh, people.betas[0])


@pytest.fixture(scope="module")
def path(people: People, mesh: trimesh.Trimesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    painted = textured(people.generator, people.planes(), mesh, 128)
    avatar = rig.rig(people.generator, painted, people.betas[0])
    file = tmp_path_factory.mktemp("avatar") / "avatar.glb"
    file.write_bytes(rig.avatar_glb(avatar, read_clips(["walk", "wave"], FPS), "person", {"seed": 0}))
    return file


@pytest.fixture(scope="module")
def file(path: Path) -> GltfFile:
    return GltfFile(path)


# ---- the standing avatar


def test_it_stands_on_the_ground(file: GltfFile, mesh: trimesh.Trimesh) -> None:
    points = file.attributes()["POSITION"]
    assert points[:, 1].min() == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(np.ptp(points, axis=0), np.ptp(mesh.vertices, axis=0), atol=1e-6)
    np.testing.assert_allclose(file.skinned(), points, atol=1e-6)  # at rest, the skin does nothing
    assert trimesh.Trimesh(points, file.faces(), process=False).volume == pytest.approx(mesh.volume)


def test_joints_are_those_of_the_bodys_build(file: GltfFile, people: People, mesh: trimesh.Trimesh) -> None:
    (skin,) = file.tree["skins"]
    names = [file.tree["nodes"][node]["name"] for node in skin["joints"]]
    assert names == JOINTS
    parent = {child: at for at, node in enumerate(file.tree["nodes"]) for child in node.get("children", [])}
    assert [parent.get(node, -1) for node in skin["joints"]] == [skin["joints"][p] if p >= 0 else -1 for p in PARENTS]
    raised = np.array([0, 0.3 - mesh.vertices[:, 1].min(), 0])
    expected = people.generator.body.rest_joints(people.betas)[0].numpy() + raised
    np.testing.assert_allclose(file.nodes_at()[skin["joints"]][:, :3, 3], expected, atol=1e-5)
    plain = people.generator.body.rest_joints(torch.zeros(1, 10))[0].numpy()
    assert np.abs(np.diff(expected, axis=0) - np.diff(plain, axis=0)).max() > 0.005  # the build matters


def test_weights_are_the_deformers(file: GltfFile, people: People, mesh: trimesh.Trimesh) -> None:
    found = file.attributes()
    raw = file.array(file.tree["meshes"][0]["primitives"][0]["attributes"]["WEIGHTS_0"], scaled=False)
    assert (raw.astype(int).sum(1) == 65535).all()
    assert (found["JOINTS_0"][raw == 0] == 0).all()
    canonical = found["POSITION"] + [0, mesh.vertices[:, 1].min(), 0]
    full = people.generator.deformer.skinning(torch.from_numpy(canonical).float()).numpy()
    spread = np.zeros_like(full)
    np.put_along_axis(spread, found["JOINTS_0"].astype(int), found["WEIGHTS_0"].astype(np.float32), axis=1)
    # JOINTS_0 names joint 0 for unused slots, which put_along_axis may overwrite with 0.
    others = np.abs(spread - full)[:, 1:]
    assert np.quantile(others.max(1), 0.99) < 0.06
    assert others.mean() < 0.002


def test_strongest_keeps_four() -> None:
    weights = torch.zeros(2, 24)
    weights[0, [3, 5, 7, 9, 11]] = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
    weights[1, 6] = 1
    kept = rig.limit_influences(weights)
    np.testing.assert_allclose(
        kept[0, [3, 5, 7, 9, 11]], [0.4 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0.1 / 0.95, 0], atol=1e-6
    )
    assert kept[1].tolist() == weights[1].tolist()
    index, share = rig.gltf_influences(kept)
    assert share.sum(1).tolist() == [65535, 65535]
    assert index[1].tolist() == [6, 0, 0, 0]


# ---- motion


def distances(first: np.ndarray, second: np.ndarray) -> float:
    """Chamfer distance, metres: the mean of both directions' mean distances to the nearest point."""
    there, back = cKDTree(second).query(first)[0], cKDTree(first).query(second)[0]
    return float(there.mean() + back.mean()) / 2


def label_of_frame(people: People, frame: int) -> torch.Tensor:
    motion = built_in("walk").resampled(FPS)
    return motion_labels(motion, people.betas[0].cpu())[frame : frame + 1]


@pytest.mark.parametrize("frame", [0, 7, 15, 29])
def test_vertices_are_where_the_deformer_carries_them(file: GltfFile, people: People, mesh: trimesh.Trimesh, frame: int) -> None:  # fmt: skip
    """The same canonical points, by the deformer's full weights in the label's world."""
    points = file.attributes()["POSITION"] + [0, mesh.vertices[:, 1].min(), 0]
    homogeneous = torch.from_numpy(np.c_[points, np.ones(len(points))]).float()
    posed = people.generator.deformer.pose(label_of_frame(people, frame))
    weights = people.generator.deformer.skinning(homogeneous[:, :3])
    expected = torch.einsum("vj,jrc,vc->vr", weights, posed.bones[0, :, :3], homogeneous).numpy() * [1, -1, -1]
    got = file.skinned("walk", frame / FPS)
    got = got + (expected - got).mean(0)  # the avatar stands on the ground, the label's body about the middle
    error = np.linalg.norm(got - expected, axis=1)
    assert error.mean() < 0.002
    assert np.quantile(error, 0.99) < 0.015
    rest = file.attributes()["POSITION"]
    assert np.linalg.norm(rest - got + (got - rest).mean(0), axis=1).mean() > 0.1  # and that is far from resting


@pytest.mark.parametrize("frame", [4, 12])
def test_the_surface_is_the_one_that_is_rendered(file: GltfFile, people: People, frame: int) -> None:
    """Against the zero level of the posed field, found by the renderer's own search from posed space."""
    label = label_of_frame(people, frame)
    got = file.skinned("walk", frame / FPS)
    body = people.generator.body.from_label(label).vertices[0].numpy() * [1, -1, -1]
    low, high = body.min(0) - 0.05, body.max(0) + 0.05
    step = 0.02
    axes = [np.arange(a, b, step) for a, b in zip(low, high)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    points = torch.from_numpy(lattice.reshape(-1, 3) * [1, -1, -1]).float()
    with torch.no_grad():
        values = people.generator.field(points[None], people.ws, label)["sdf"][0]
    volume = values.clamp_min(-0.1).view(lattice.shape[:3]).numpy()
    vertices, faces, _, _ = marching_cubes(volume, 0.0, spacing=(step,) * 3, gradient_direction="ascent")
    rendered = trimesh.Trimesh(vertices + low, faces, process=False)
    ours = trimesh.Trimesh(got, file.faces(), process=False)
    # Both are put about the middle of their bounds in height; horizontally both pelvises are over one place.
    pelvis = people.generator.body.from_label(label).joints[0, 0].numpy() * [1, -1, -1]
    joint = file.nodes_at("walk", frame / FPS)[file.tree["skins"][0]["joints"][0], :3, 3]
    ours.apply_translation(pelvis - joint)
    first = trimesh.sample.sample_surface(ours, 8000, seed=0)[0]
    second = trimesh.sample.sample_surface(rendered, 8000, seed=1)[0]
    assert distances(first, second) < 0.01
    assert distances(first + np.array([0, 0.05, 0]), second) > 0.01  # the measure can tell


def test_the_walk_repeats_and_stays_in_place(file: GltfFile) -> None:
    names = [animation["name"] for animation in file.tree["animations"]]
    assert names == ["walk", "wave"]
    times = file.array(file.tree["animations"][0]["samplers"][0]["input"])
    np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=1e-6)
    np.testing.assert_allclose(file.skinned("walk", times[-1]), file.skinned("walk", 0), atol=1e-5)
    lowest, places = [], []
    for time in times[::3]:
        points = file.skinned("walk", time)
        lowest.append(points[:, 1].min())
        places.append(points.mean(0))
    assert min(lowest) == pytest.approx(0, abs=0.01)
    assert max(lowest) < 0.06  # a walker's lower foot is never far from the ground
    assert np.ptp(np.array(places)[:, [0, 2]], axis=0).max() < 0.1


def motion(frames: int = 5, **given: torch.Tensor) -> Motion:
    parts = {"global_orient": torch.zeros(frames, 3), "body_pose": torch.zeros(frames, 69), "trans": torch.zeros(frames, 3)}  # fmt: skip
    return Motion(**{**parts, **given}, fps=10.0)


def test_amass_axes(avatar: rig.Rig) -> None:
    """AMASS: z up, an upright body faces -y and is turned about x by a quarter."""
    upright = torch.tensor([[np.pi / 2, 0.0, 0.0]]).expand(5, 3).float()
    forwards = torch.stack([torch.zeros(5), -torch.arange(5.0), torch.tensor([0, 0, 0.5, 0, 0])], dim=1)
    clip = make_clip(motion(global_orient=upright, trans=forwards), "go", 10, travel=True)
    torch.testing.assert_close(clip.rotations[:, 0], torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    expected = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0.5, 2], [0, 0, 3], [0, 0, 4.0]])
    torch.testing.assert_close(clip.pelvis, expected)
    stays = make_clip(motion(global_orient=upright, trans=forwards), "go", 10)
    torch.testing.assert_close(stays.pelvis[:, 1], expected[:, 1])
    assert float(stays.pelvis[:, [0, 2]].abs().max()) == 0
    points = torch.from_numpy(np.asarray(avatar.mesh.vertices)).float()
    grounded = clips.grounded(stays, avatar.body, avatar.joints, points, avatar.weights)
    np.testing.assert_allclose(grounded.pelvis[:, 1], [0, 0, 0.5, 0, 0], atol=1e-4)  # it stood on the ground already


def test_frame_rates_and_turns(avatar: rig.Rig, tmp_path: Path) -> None:
    """A knee that goes round by steps of 100 degrees turns the short way between frames, at any rate."""
    pose = torch.zeros(5, 23, 3)
    pose[:, JOINTS.index("left_knee") - 1, 0] = torch.deg2rad(torch.arange(5) * 100.0)
    slow = make_clip(motion(body_pose=pose.flatten(1)), "turn", 10)
    quaternions = slow.quaternions()
    assert quaternions.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(quaternions, axis=-1), 1, atol=1e-6)
    assert ((quaternions[1:] * quaternions[:-1]).sum(-1) > 0).all()
    data = rig.avatar_glb(avatar, [slow], "person")
    (tmp_path / "a.glb").write_bytes(data)
    file = GltfFile(tmp_path / "a.glb")
    joints = file.tree["skins"][0]["joints"]
    hip, knee = joints[JOINTS.index("left_hip")], joints[JOINTS.index("left_knee")]
    nodes = file.nodes_at("turn", 0.15)
    between = np.linalg.inv(nodes[hip]) @ nodes[knee]
    expected = axis_angle_to_matrix(torch.tensor([np.deg2rad(150.0), 0, 0])).numpy()
    np.testing.assert_allclose(between[:3, :3], expected, atol=1e-5)
    assert len(make_clip(motion(), "m", 40)) == 20


def test_motion_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "dance.npz", poses=np.zeros((30, 156)), trans=np.zeros((30, 3)), mocap_framerate=60.0)
    found = read_clips(["walk", str(tmp_path / "dance.npz"), str(tmp_path / "dance.npz")], 30)
    assert [clip.name for clip in found] == ["walk", "dance", "dance#2"]
    assert len(found[1]) == 15
    assert len(found[0]) == 67  # the first frame once more at the end
    with pytest.raises(UserError, match=r"nothing.npz does not exist"):
        read_clips([str(tmp_path / "nothing.npz")], 30)
    np.savez(tmp_path / "long.npz", poses=np.zeros((6000, 72)), mocap_framerate=30.0)
    assert len(read_clips([str(tmp_path / "long.npz")], 30)[0]) == 6000


# ---- other programs


def test_khronos_finds_no_fault(path: Path) -> None:
    """The validator of the format's owner, where it is installed (see docs/avatars.md)."""
    modules = Path(os.environ.get("AG3D_NODE_MODULES") or ROOT / "build" / "npm" / "node_modules")
    node = shutil.which("node")
    if node is None or not (modules / "gltf-validator").is_dir():
        pytest.skip(f"node or {modules}/gltf-validator is not installed: npm install --prefix build/npm gltf-validator")
    script = (
        "const fs=require('fs'),v=require('gltf-validator');"
        "v.validateBytes(new Uint8Array(fs.readFileSync(process.argv[1]))).then(r=>console.log(JSON.stringify(r)))"
    )
    answer = subprocess.run([node, "-e", script, str(path)], capture_output=True, text=True, cwd=modules)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["issues"]["messages"] == []
    assert found["info"]["animationCount"] == 2
    assert found["info"]["hasSkins"]
    assert found["info"]["maxInfluences"] == 4


BLENDER = """
import json, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
(bones,) = [one for one in bpy.data.objects if one.type == "ARMATURE"]
(mesh,) = [one for one in bpy.data.objects if one.type == "MESH" and one.vertex_groups]
found = {"bones": [bone.name for bone in bones.data.bones], "fps": bpy.context.scene.render.fps}
for name in ("walk", "wave"):
    (action,) = [one for one in bpy.data.actions if one.name.startswith(name)]
    bones.animation_data.action = action
    if hasattr(action, "slots"):
        bones.animation_data.action_slot = action.slots[0]
    bpy.context.scene.frame_set(7)
    seen = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    found[name] = [tuple(seen.matrix_world @ one.co) for one in seen.to_mesh().vertices]
print("found" + json.dumps(found))
"""


def test_blender_moves_it_alike(path: Path, file: GltfFile) -> None:
    """An importer of other people's making; AG3D_BLENDER names a Python that has the package bpy (see docs/avatars.md)."""
    python = os.environ.get("AG3D_BLENDER")
    if not python:
        pytest.skip("AG3D_BLENDER names no Python with the package bpy")
    answer = subprocess.run([python, "-c", BLENDER, str(path)], capture_output=True, text=True)
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("found{")]
    found = json.loads(line.removeprefix("found"))
    assert sorted(found["bones"]) == sorted(JOINTS)
    for name in ("walk", "wave"):
        z_up = np.array(found[name])
        ours = file.skinned(name, 7 / found["fps"])
        np.testing.assert_allclose(np.c_[z_up[:, 0], z_up[:, 2], -z_up[:, 1]], ours, atol=1e-4)
