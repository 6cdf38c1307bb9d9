"""Meshes: the field's zero level in metres, y up, thinned out, coloured and posed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import trimesh
from torch.testing import assert_close

from ag3d.config import Network
from ag3d.core.errors import UserError
from ag3d.model.avatars import mesh as mesh_module
from ag3d.model.avatars.identities import People
from ag3d.model.body import label as labels
from ag3d.model.body.body import JOINTS, Body
from ag3d.model.deformation import canonical_body
from ag3d.model.generator import Generator

CENTER, RADIUS = torch.tensor([0.1, 0.25, 0.02]), 0.16
COLOR = (0.2, 0.4, 0.8)


def field(body: Body, settings: Network, values) -> Generator:
    """A generator whose field is `values` (a function of points [...,3]) and whose colour is COLOR everywhere."""
    box = canonical_body.build(body, torch.zeros(32, 128, 128)).box
    network = Generator(settings, body, values(box.points(128))).eval().requires_grad_(False)
    last = network.decoder.layers[1]
    last.weight.zero_()
    last.bias.zero_()
    wanted = (torch.tensor(COLOR) + 0.001) / 1.002
    last.bias[1:4] = torch.logit(wanted) / last.lr
    return network


def ball(points: torch.Tensor, center: torch.Tensor = CENTER, radius: float = RADIUS) -> torch.Tensor:
    """Positive inside."""
    return radius - (points - center).norm(dim=-1)


def extract(network: Generator, resolution: int = 120) -> trimesh.Trimesh:
    ws = torch.zeros(1, network.num_ws, network.settings.w_dim)
    return mesh_module.canonical_mesh(network, network.planes(ws), resolution)


@pytest.fixture(scope="module")
def settings(small_generator: Generator) -> Network:
    return small_generator.settings


@pytest.fixture(scope="module")
def sphere(tiny_body: Body, settings: Network) -> trimesh.Trimesh:
    return extract(field(tiny_body, settings, ball))


# ---- the zero level


def test_a_sphere_comes_out_round_and_in_its_place(sphere: trimesh.Trimesh) -> None:
    away = np.linalg.norm(sphere.vertices - CENTER.numpy(), axis=1)
    np.testing.assert_allclose(away, RADIUS, atol=0.002)
    assert sphere.is_watertight
    assert sphere.is_winding_consistent
    assert sphere.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)  # positive: triangles face outwards
    outwards = np.einsum("nc,nc->n", sphere.face_normals, sphere.triangles_center - CENTER.numpy())
    assert (outwards[sphere.area_faces > 1e-9] > 0).all()
    assert sphere.euler_number == 2


def test_another_level_lies_outside(tiny_body: Body, settings: Network) -> None:
    network = field(tiny_body, settings, ball)
    planes = network.planes(torch.zeros(1, network.num_ws, network.settings.w_dim))
    wider = mesh_module.canonical_mesh(network, planes, 80, level=-0.01)
    np.testing.assert_allclose(np.linalg.norm(wider.vertices - CENTER.numpy(), axis=1), RADIUS + 0.01, atol=0.003)


def test_finer_voxels_are_nearer(tiny_body: Body, settings: Network, sphere: trimesh.Trimesh) -> None:
    coarse = extract(field(tiny_body, settings, ball), 40)
    error = [abs(mesh.volume / (4 / 3 * math.pi * RADIUS**3) - 1) for mesh in (coarse, sphere)]
    assert error[1] < 0.5 * error[0]
    assert 5 * len(coarse.faces) < len(sphere.faces)


def test_colours_are_the_fields(sphere: trimesh.Trimesh, small_generator: Generator) -> None:
    np.testing.assert_array_equal(np.unique(sphere.visual.vertex_colors, axis=0), [[51, 102, 204, 255]])
    people = People(small_generator, labels.canonical_label(), 2, 0, 1.0)
    person = mesh_module.canonical_mesh(small_generator, people.planes()[1:], 60)
    points = torch.from_numpy(np.asarray(person.vertices)).float()[None]
    expected = small_generator.field(points, people.ws[1:])["color"][0] * 255
    got = torch.from_numpy(np.asarray(person.visual.vertex_colors)[:, :3].astype(np.float32))
    assert_close(got, expected.clamp(0, 255), atol=0.51, rtol=0)
    assert float(got.std(0).max()) > 5  # they vary


def test_only_the_largest_piece_stays(tiny_body: Body, settings: Network) -> None:
    crumb = torch.tensor([0.1, -0.5, 0.02])
    both = extract(field(tiny_body, settings, lambda p: torch.maximum(ball(p), ball(p, crumb, 0.07))), 80)
    assert both.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.03)
    assert both.bounds[0][1] > 0


def test_a_hollow_body_is_closed_from_outside(tiny_body: Body, settings: Network) -> None:
    shell = extract(field(tiny_body, settings, lambda p: torch.minimum(ball(p), -ball(p, radius=0.1))), 80)
    assert shell.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.03)


def test_thinning_out_keeps_the_shape(tiny_body: Body, settings: Network, sphere: trimesh.Trimesh) -> None:
    network = field(tiny_body, settings, ball)
    planes = network.planes(torch.zeros(1, network.num_ws, network.settings.w_dim))
    few = mesh_module.canonical_mesh(network, planes, 120, faces=600)
    assert len(few.faces) <= 600 < len(sphere.faces)
    assert few.is_watertight
    assert few.volume == pytest.approx(sphere.volume, rel=0.02)
    np.testing.assert_allclose(np.linalg.norm(few.vertices - CENTER.numpy(), axis=1), RADIUS, atol=0.004)
    np.testing.assert_array_equal(np.unique(few.visual.vertex_colors, axis=0), [[51, 102, 204, 255]])


def thin_and_curved(points: torch.Tensor) -> torch.Tensor:
    """A ball with a thin needle and a thinner sheet on it, both finer than a block."""
    x, y, z = (points - CENTER).unbind(-1)
    needle = torch.minimum(0.012 - (y.square() + z.square()).sqrt(), 0.4 - x.abs())
    sheet = torch.minimum(torch.minimum(0.01 - z.abs(), 0.3 - y.abs()), 0.1 - x.abs())
    return torch.maximum(ball(points), torch.maximum(needle, sheet))


@pytest.mark.parametrize("level", [0.0, -0.005])
def test_values_near_the_surface_alone_give_the_same_mesh(tiny_body: Body, settings: Network, level: float) -> None:
    network = field(tiny_body, settings, thin_and_curved)
    planes = network.planes(torch.zeros(1, network.num_ws, network.settings.w_dim))

    def mesh_of(block: int) -> tuple[trimesh.Trimesh, np.ndarray]:
        volume, low, step = mesh_module.field_values(network, planes, 130, level, block)
        points, faces, _, _ = mesh_module.marching_cubes(
            volume, level, spacing=(step,) * 3, gradient_direction="ascent"
        )
        return mesh_module.largest_piece(trimesh.Trimesh(points + low, faces, process=False)), volume

    (dense, every), (sparse, some) = mesh_of(1), mesh_of(4)
    np.testing.assert_array_equal(sparse.vertices, dense.vertices)
    np.testing.assert_array_equal(sparse.faces, dense.faces)
    assert dense.extents[0] > 0.7  # the needle is part of it
    common = tuple(slice(0, min(sizes)) for sizes in zip(every.shape, some.shape))
    near = every[common] > -1
    assert (every[common] == some[common])[near].mean() < 0.5  # most was not evaluated


def test_nobody_there_is_said(tiny_body: Body, settings: Network) -> None:
    with pytest.raises(UserError, match="no surface"):
        extract(field(tiny_body, settings, lambda p: ball(p) - 1), 40)


def test_a_person_is_in_metres_upright_and_faces_z(small_generator: Generator) -> None:
    people = People(small_generator, labels.canonical_label(), 1, 0, 0.7)
    mesh = mesh_module.canonical_mesh(small_generator, people.planes(), 100)
    body = small_generator.deformer.vertices.numpy()
    np.testing.assert_allclose(mesh.bounds, [body.min(0), body.max(0)], atol=0.06)
    assert mesh.is_watertight
    assert mesh.volume > 0
    low, high = mesh.bounds
    feet = mesh.vertices[mesh.vertices[:, 1] < low[1] + 0.06]
    assert feet[:, 2].max() > mesh.vertices[:, 2].mean() + 0.1  # toes point to +z
    wide = mesh.vertices[np.abs(mesh.vertices[:, 0]) > 0.6]  # hands
    assert (wide[:, 1] > low[1] + 0.7 * (high[1] - low[1])).all()  # and they are high up


# ---- posed


def body_mesh(network: Generator) -> trimesh.Trimesh:
    return trimesh.Trimesh(network.deformer.vertices.numpy(), network.body.faces.numpy(), process=False)


def test_posing_follows_the_body(small_generator: Generator, tiny_body: Body) -> None:
    label = labels.canonical_label(betas=torch.randn(1, 10, generator=torch.Generator().manual_seed(1)))
    pose = label[:, 32:101].view(1, 23, 3)
    pose[0, JOINTS.index("left_shoulder") - 1, 2] = -1.1
    pose[0, JOINTS.index("right_knee") - 1, 0] = 0.9
    label[:, 26:29] += torch.tensor([0.1, -0.05, 0.2])
    label[:, 25] = 0.9  # a smaller body
    posed = mesh_module.posed_mesh(small_generator, body_mesh(small_generator), label)
    # The mean shape is skinned with the joints of the betas: transforms of the shaped body on the mean body's vertices.
    transforms = tiny_body.from_label(label).transforms[0]
    rest = torch.nn.functional.pad(tiny_body.v_template, (0, 1), value=1)
    expected = torch.einsum("vj,jrc,vc->vr", tiny_body.weights, transforms[:, :3], rest) * torch.tensor([1.0, -1, -1])
    error = np.linalg.norm(posed.vertices - expected.numpy(), axis=1)
    assert np.median(error) < 0.01  # weights come from a grid of voxels
    assert np.quantile(error, 0.9) < 0.05
    assert posed.volume > 0
    joint = {name: posed.vertices[tiny_body.weights.argmax(1) == at].mean(0) for at, name in enumerate(JOINTS)}
    assert joint["head"][1] > joint["pelvis"][1] > joint["left_foot"][1]  # y up
    assert joint["left_foot"][2] > joint["left_ankle"][2]  # facing +z
    assert joint["left_hand"][0] > joint["right_hand"][0]
    assert joint["left_hand"][1] < joint["left_shoulder"][1] - 0.2  # lowered
    assert joint["right_foot"][2] < joint["left_foot"][2] - 0.1  # bent back


def test_posing_keeps_the_rest(small_generator: Generator) -> None:
    mesh = body_mesh(small_generator)
    mesh.visual.vertex_colors = np.random.default_rng(0).integers(0, 256, (len(mesh.vertices), 4)).astype(np.uint8)
    before = mesh.vertices.copy()
    posed = mesh_module.posed_mesh(small_generator, mesh, labels.canonical_label())
    np.testing.assert_array_equal(posed.faces, mesh.faces)
    np.testing.assert_array_equal(posed.visual.vertex_colors, mesh.visual.vertex_colors)
    np.testing.assert_array_equal(mesh.vertices, before)
    shift = posed.vertices - before
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:1], shift.shape), atol=1e-4)  # the zero pose, elsewhere


def test_normals_show_no_seam() -> None:
    whole = trimesh.creation.icosphere(subdivisions=3)
    cut = trimesh.Trimesh(
        whole.vertices[whole.faces].reshape(-1, 3), np.arange(3 * len(whole.faces)).reshape(-1, 3), process=False
    )
    normals = mesh_module.smooth_normals(cut)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(normals, cut.vertices, atol=0.02)
    lonely = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5]], [[0, 1, 2]], process=False)
    np.testing.assert_allclose(mesh_module.smooth_normals(lonely)[[0, 3]], [[0, 0, 1], [0, 1, 0]])
