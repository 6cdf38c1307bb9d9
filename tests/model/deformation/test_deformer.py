"""The deformer: grids, signed distance, search."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from torch.testing import assert_close

from ag3d.config import Network
from ag3d.config.network import Departures
from ag3d.model.body import label as labels
from ag3d.model.deformation.deformer import Deformer
from ag3d.model.deformation.init_surface import StartVertices
from ag3d.model.deformation.knn import nearest_by_products, nearest_reference
from ag3d.model.deformation.signed_distance import signed_distance
from ag3d.model.ops.blended_transforms import BlendedTransforms, cofactor
from ag3d.model.ops.constants import BODY_PARTS
from ag3d.model.ops.voxel_grid import Box, corners, lookup, value_and_gradient


@pytest.fixture(scope="module")
def sphere():
    mesh = trimesh.creation.icosphere(4, 0.2)
    return torch.from_numpy(mesh.vertices).float() + torch.tensor([0.1, -0.2, 0.03]), torch.from_numpy(
        mesh.faces
    ).long()


def test_signed_distance_of_a_sphere(sphere):
    vertices, faces = sphere
    points = Box(torch.tensor([0.1, -0.1, 0.0]), torch.tensor(1.0)).points(48)
    found = signed_distance(points, vertices, faces)
    expected = 0.2 - (points - torch.tensor([0.1, -0.2, 0.03])).norm(dim=-1)
    assert (found - expected).abs().max() < 2e-3
    assert ((found > 0) == (expected > 0))[expected.abs() > 1e-3].all()


def test_a_hole_and_a_nested_part_keep_the_sign(sphere):
    vertices, faces = sphere
    inner = torch.cat([vertices, (vertices - vertices.mean(0)) * 0.4 + vertices.mean(0)])
    both = torch.cat([faces[20:], faces + len(vertices)])  # twenty triangles are missing
    points = Box(torch.tensor([0.1, -0.1, 0.0]), torch.tensor(1.0)).points(48)
    found = signed_distance(points, inner, both) > 0
    expected = (points - torch.tensor([0.1, -0.2, 0.03])).norm(dim=-1) < 0.2
    assert (found != expected).float().mean() < 1e-3


def bottle(neck: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A ball of radius 0.2 with a hollow of radius 0.18 that opens forwards (+z) through a neck of that radius."""
    outer = np.linspace(np.pi, np.arcsin(neck / 0.2), 60)  # angles from +z
    inner = np.linspace(np.arcsin(neck / 0.18), np.pi, 60)
    profile = np.concatenate([0.2 * np.c_[np.sin(outer), np.cos(outer)], 0.18 * np.c_[np.sin(inner), np.cos(inner)]])
    mesh = trimesh.creation.revolve(profile, sections=97)
    assert mesh.is_watertight
    mesh.fix_normals()
    return torch.from_numpy(mesh.vertices).float(), torch.from_numpy(mesh.faces).long()


def test_a_mouth_counts_as_inside():
    """A hollow behind lips that are nearly shut is filled as if it were not there."""
    vertices, faces = bottle(neck=0.004)
    points = Box(torch.zeros(3), torch.tensor(0.85)).points(128)
    found = signed_distance(points, vertices, faces)
    expected = 0.2 - points.norm(dim=-1)
    assert ((found > 0) == (expected > 0))[expected.abs() > 0.005].all()
    assert (found - expected).abs().max() < 0.021  # the lips, 0.02 thick, are felt beside their slit alone
    assert (found - expected).abs().mean() < 0.001


def test_open_hollows_stay_outside():
    vertices, faces = bottle(neck=0.11)
    points = Box(torch.zeros(3), torch.tensor(0.85)).points(128)
    found = signed_distance(points, vertices, faces)
    away = points.norm(dim=-1)
    straight = (points[..., :2].norm(dim=-1) < 0.05) & (points[..., 2] > -0.05) & (away < 0.15)
    assert straight.any()
    assert (found[straight] < 0).all()


def test_look_ups_equal_grid_sample():
    torch.manual_seed(0)
    shape = (4, 16, 16)
    grid = torch.randn(5, *shape)
    table = grid.flatten(1).T.contiguous()
    unit = torch.rand(300, 3) * 2.6 - 1.3
    for border, mode in ((True, "border"), (False, "zeros")):
        ours = lookup(table, *corners(unit, shape, border))
        expected = F.grid_sample(grid[None], unit[None, :, None, None], align_corners=True, padding_mode=mode)[
            0, :, :, 0, 0
        ].T
        assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_gradient_of_a_grid_equals_autograd():
    torch.manual_seed(0)
    shape = (4, 16, 16)
    grid = torch.randn(1, *shape)
    unit = (torch.rand(300, 3) * 2.6 - 1.3).requires_grad_()
    value = F.grid_sample(grid[None], unit[None, :, None, None], align_corners=True, padding_mode="border").view(-1)
    (expected,) = torch.autograd.grad(value.sum(), unit)
    scale = torch.tensor([1.0, 2.0, 3.0])
    ours, gradient = value_and_gradient(grid.view(-1, 1), unit.detach(), shape, scale)
    assert_close(ours, value.detach())
    assert_close(gradient, expected * scale, rtol=1e-4, atol=1e-4)


def test_cofactor_carries_normals():
    matrix = torch.randn(20, 3, 3, dtype=torch.float64)
    assert_close(cofactor(matrix), torch.linalg.det(matrix)[:, None, None] * torch.linalg.inv(matrix).mT)


def strong_poses(count: int, amount: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    pose = torch.randn(count, 69, generator=generator) * amount
    orient = torch.tensor([[math.pi, 0.0, 0.0]]).expand(count, 3)
    return labels.pack(torch.zeros(count, 3), orient, pose, torch.zeros(count, 10))


def recall(deformer: Deformer, label: torch.Tensor) -> float:
    """The share of canonical points near the surface that are found again after being posed."""
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(deformer.vertices), (1500,), generator=generator)
    points = deformer.vertices[chosen] + torch.randn(1500, 3, generator=generator) * 0.01
    posed = deformer.pose(label)
    index, weight = corners(deformer.box.normalize(points), deformer.weights_shape, border=True)
    found = []
    for image in range(len(label)):
        linear, shift = posed.transforms.at(points, torch.full((len(points),), image))
        target = (linear @ points[:, :, None]).squeeze(-1) + shift
        alone = deformer.pose(label[image : image + 1])
        candidates = alone.find_correspondences(target[None])
        distance = (candidates.roots - points[candidates.flat]).norm(dim=1)
        hit = torch.zeros(len(points), dtype=torch.bool)
        hit[candidates.flat[distance < 1e-3]] = True
        found.append(hit)
    assert index.shape == weight.shape
    return float(torch.stack(found).float().mean())


@pytest.mark.parametrize("border", [True, False])
def test_transforms_are_blended_alike_with_and_without_a_table(tiny_body, border):
    deformer = Deformer(Network(), tiny_body)
    transforms = deformer.pose(strong_poses(3, 0.3)).transforms
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 3 - 1.5  # outside the grid, too
    image = torch.arange(500) % 3
    tabled = BlendedTransforms(transforms.weights, transforms.bones, transforms.box, transforms.table.values)
    for found, expected in zip(transforms.at(points, image, border), tabled.at(points, image, border)):
        assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_search_recovers_points_and_better_than_from_bones(tiny_body):
    label = strong_poses(4, 0.35)
    ours = recall(Deformer(Network(), tiny_body), label)
    bones = recall(Deformer(Network(departures=Departures(surface_starts=False)), tiny_body), label)
    assert ours > 0.97
    assert ours >= bones


def test_zero_pose_maps_to_itself(tiny_body):
    deformer = Deformer(Network(), tiny_body)
    canonical = labels.pack(torch.tensor([[0.0, 0.3, 0.0]]), torch.zeros(1, 3), torch.zeros(1, 69), torch.zeros(1, 10))
    points = deformer.vertices[::3][None]
    found = deformer.pose(canonical).find_correspondences(points)
    assert len(torch.unique(found.flat)) == points.shape[1]
    assert_close(found.roots, points[0][found.flat], atol=1e-3, rtol=0)


def test_the_surface_of_unusual_bodies_is_found(tiny_body):
    """The field moves with the joints alone, so that a posed body's own vertices leave its surface as its betas grow."""
    deformer = Deformer(Network(cull_distance=0.05), tiny_body)
    label = strong_poses(2, 0.2)
    label[:, 101:] = 3.0
    posed = deformer.pose(label)
    own = tiny_body.from_label(label).vertices
    apart = (posed.surface - own[:, deformer.start_vertices]).norm(dim=2)
    assert apart.max() > 0.05
    usual = label.clone()
    usual[:, 101:] = 0
    assert recall(deformer, label) > recall(deformer, usual) - 0.02
    assert recall(deformer, label) > 0.9


def test_nearest_vertices_transforms_tear_where_the_search_does_not(tiny_body):
    label = strong_poses(4, 0.35)
    searched = recall(Deformer(Network(), tiny_body), label)
    nearest = Deformer(Network(skinning="nearest"), tiny_body)
    assert recall(nearest, label) < 0.5 < searched
    posed = nearest.pose(label)
    assert_close(  # a vertex itself comes back exactly: the posed body's own transforms made it
        posed.find_correspondences(posed.surface).roots, nearest.vertices.repeat(4, 1), atol=1e-3, rtol=0
    )


def test_nearest_by_products_is_the_nearest():
    surface = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0)) * 0.4 + torch.tensor([0.3, 5.0, -2.0])
    points = surface[:2000] + torch.randn(2000, 3, generator=torch.Generator().manual_seed(1)) * 0.05
    points = torch.cat([points, surface[:10]])  # on the surface too
    far, nearest = nearest_by_products(points, surface)
    expected, _ = nearest_reference(points, surface)
    assert_close(far.double(), expected, atol=2e-5, rtol=1e-5)
    assert torch.equal(nearest[-10:], torch.arange(10))
    assert nearest_by_products(points[:0], surface)[1].shape == (0,)


def test_the_near_parts_are_those_of_a_look_at_every_vertex(tiny_body):
    deformer = Deformer(Network(), tiny_body)
    posed = deformer.pose(strong_poses(2, 0.3))
    assert posed.blended is not None
    starts = StartVertices(posed.surface, deformer.part_begins, posed.blended, 0.12)
    parts = torch.arange(BODY_PARTS).repeat_interleave(deformer.part_begins.diff())
    drawn = torch.Generator().manual_seed(0)
    around = posed.surface[:, torch.randint(0, posed.surface.shape[1], (400,), generator=drawn)]
    points = around + torch.randn(around.shape, generator=drawn) * 0.1
    points[:, :5] += 50.0  # nowhere near
    flat, vertex, far = starts.near_parts_cpu(points)
    order = (flat * BODY_PARTS + parts[vertex]).argsort()
    reference = starts.near_parts_reference(points)
    reference_order = (reference[0] * BODY_PARTS + parts[reference[1]]).argsort()
    assert torch.equal(flat[order], reference[0][reference_order])
    assert_close(far[order], reference[2][reference_order], atol=1e-5, rtol=0)
    apart = torch.cdist(points.double(), posed.surface.double())  # [B,N,V]
    expected = set()
    for part in parts.unique():
        own = torch.nonzero(parts == part).squeeze(1)
        inside = torch.nonzero(apart[..., own].amin(2) < 0.12)
        expected |= {(int(image) * points.shape[1] + int(place), int(part)) for image, place in inside}
    assert expected == set(zip(flat.tolist(), parts[vertex].tolist()))
    assert len(expected) == len(flat) > 400
    image, place = flat // points.shape[1], flat % points.shape[1]
    assert_close(far.double(), apart[image, place, vertex], atol=1e-6, rtol=0)
    for index in range(0, len(flat), 7):
        own = parts == parts[vertex[index]]
        assert far[index] < apart[image[index], place[index], own].min() + 1e-5


def test_nearest_finds_at_most_one_root_and_none_far_away(tiny_body):
    deformer = Deformer(Network(skinning="nearest"), tiny_body)
    posed = deformer.pose(strong_poses(2, 0.2))
    points = torch.rand(2, 500, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = posed.find_correspondences(points)
    assert len(torch.unique(found.flat)) == len(found.flat) > 0
    far = posed.surface.amax(dim=1, keepdim=True) + 0.2
    assert len(posed.find_correspondences(far).flat) == 0


def test_distant_points_have_no_candidates(tiny_body):
    deformer = Deformer(Network(), tiny_body)
    posed = deformer.pose(strong_poses(1, 0.2))
    far = posed.surface.amax(dim=1, keepdim=True) + 0.2
    assert len(posed.find_correspondences(far).flat) == 0


def test_scaled_bodies_stay_with_their_bones(tiny_body):
    label = strong_poses(1, 0.3)
    label[:, 25] = 1.3
    whole = tiny_body.from_label(label)
    vertices = torch.einsum("vj,bjrc->bvrc", tiny_body.weights, whole.transforms[:, :, :3])
    moved = torch.einsum("bvrc,vc->bvr", vertices[..., :3], tiny_body.v_template) + vertices[..., 3]
    assert_close(moved, whole.vertices, atol=1e-4, rtol=0)
    bare = Deformer(Network(), tiny_body)
    assert_close(bare.pose(label).bones @ torch.linalg.inv(bare.inverse), whole.transforms, atol=1e-4, rtol=0)
    reference = tiny_body.from_label(label, reference_scale=True)
    apart = torch.einsum("vj,bjrc->bvrc", tiny_body.weights, reference.transforms[:, :, :3])
    apart = torch.einsum("bvrc,vc->bvr", apart[..., :3], tiny_body.v_template) + apart[..., 3]
    assert np.abs((apart - reference.vertices).numpy()).max() > 0.01
