"""The rasteriser and the nearest neighbours against pytorch3d's: its definition of coverage, depth, normals and distances.

pytorch3d is no requirement (docs/design.md says how to install it); skipped without.
"""

from __future__ import annotations

import pytest
import torch
import trimesh

from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.deformation.knn import near_body, nearest_by_products
from ag3d.model.rendering.rasterizer import Raster, interpolate, rasterize, render_normals, to_screen, vertex_normals

structures = pytest.importorskip("pytorch3d.structures", reason="pytorch3d is not installed")
rasterize_meshes = pytest.importorskip("pytorch3d.renderer.mesh.rasterize_meshes").rasterize_meshes
knn_points = pytest.importorskip("pytorch3d.ops").knn_points

SIDE = 96
FAR = 3.0  # pytorch3d leaves out what is not before its camera


def ball() -> tuple[torch.Tensor, torch.Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.7)
    return torch.tensor(mesh.vertices, dtype=torch.float32) + torch.tensor([0.01, -0.02, FAR]), torch.tensor(mesh.faces)


def two_bars() -> tuple[torch.Tensor, torch.Tensor]:
    """They pass through each other."""
    bars = trimesh.util.concatenate(
        [
            trimesh.creation.box((1.4, 0.3, 0.3)),
            trimesh.creation.box((0.25, 1.5, 0.5)).apply_translation((0.1, 0, 0.07)),
        ]
    )
    turned = bars.apply_transform(trimesh.transformations.rotation_matrix(0.5, (1, 2, 3)))
    return torch.tensor(turned.vertices, dtype=torch.float32) + torch.tensor([0, 0, FAR]), torch.tensor(turned.faces)


@pytest.fixture(params=["ball", "bars", "body"])
def mesh(request: pytest.FixtureRequest, tiny_body: Body) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices [V,3] in the label's world (x right, y down, z away), and faces [F,3]."""
    if request.param == "body":
        posed = tiny_body.from_label(labels.canonical_label(1)).vertices[0]
        return posed / posed.abs().max() * 0.95 + torch.tensor([0, 0, FAR]), tiny_body.faces
    return ball() if request.param == "ball" else two_bars()


def by_pytorch3d(vertices: torch.Tensor, faces: torch.Tensor) -> Raster:
    """pytorch3d's x points left and its y up."""
    flipped = vertices * torch.tensor([-1.0, -1.0, 1.0])
    meshes = structures.Meshes(verts=[flipped], faces=[faces])
    face_index, depth, barycentric, _ = rasterize_meshes(meshes, SIDE, blur_radius=0.0, faces_per_pixel=1, bin_size=0)
    hit = face_index[0, ..., 0] >= 0
    return Raster(face_index[0, ..., 0], barycentric[0, ..., 0, :], depth[0, ..., 0].where(hit, torch.inf))


def test_coverage_and_depth(mesh) -> None:
    ours, theirs = rasterize(to_screen(mesh[0], SIDE), mesh[1], SIDE, SIDE), by_pytorch3d(*mesh)
    covered, expected = ours.face_index >= 0, theirs.face_index >= 0
    assert expected.float().mean() > 0.03
    # Centres of pixels that lie on an edge, where pytorch3d counts neither side, may differ.
    assert int((covered != expected).sum()) <= 0.002 * SIDE**2
    both = covered & expected
    # pytorch3d adds 1e-8 to every area, so that small triangles come out a little too near.
    torch.testing.assert_close(ours.depth[both], theirs.depth[both], atol=1e-3, rtol=0)
    same = both & (ours.face_index == theirs.face_index)
    assert int(same.sum()) >= 0.98 * int(both.sum())
    torch.testing.assert_close(ours.barycentric[same], theirs.barycentric[same], atol=2e-3, rtol=0)


def test_normals(mesh) -> None:
    vertices, faces = mesh
    theirs = structures.Meshes(verts=[vertices], faces=[faces]).verts_normals_packed()
    torch.testing.assert_close(vertex_normals(vertices, faces), theirs, atol=1e-4, rtol=0)
    ours, mask = render_normals(vertices, faces, SIDE)
    raster = by_pytorch3d(vertices, faces)
    expected = torch.nn.functional.normalize(
        interpolate(raster, faces, theirs * torch.tensor([1.0, -1.0, -1.0])), dim=-1
    )
    both = mask & (raster.face_index >= 0)
    angles = torch.rad2deg(torch.acos((ours[both] * expected[both]).sum(-1).clamp(-1, 1)))
    assert float(angles.quantile(0.99)) < 0.5


@pytest.mark.parametrize("search", ["tree", "products"])
def test_nearest_vertices(tiny_body: Body, search: str) -> None:
    surface = tiny_body.from_label(labels.canonical_label(1)).vertices[0]
    points = surface[torch.arange(3000) % len(surface)] + 0.1 * torch.randn(
        3000, 3, generator=torch.Generator().manual_seed(0)
    )
    squared, indices, _ = knn_points(points[None], surface[None], K=1)
    expected, theirs = squared[0, :, 0].sqrt(), indices[0, :, 0]
    if search == "tree":
        close, nearest, distances = near_body(points, surface, distance=0.15)
        assert torch.equal(close, torch.nonzero(expected < 0.15).squeeze(1))
        expected, theirs = expected[close], theirs[close]
    else:
        distances, nearest = nearest_by_products(points, surface)
    torch.testing.assert_close(distances, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(surface[nearest], surface[theirs])  # of vertices in one place, either is right
