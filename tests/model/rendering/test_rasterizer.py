"""The z-buffer against shapes whose pictures are known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import trimesh

from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.rendering.rasterizer import interpolate, rasterize, render_normals, silhouette, vertex_normals


def sphere(radius: float = 0.5) -> tuple[torch.Tensor, torch.Tensor]:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return torch.tensor(mesh.vertices, dtype=torch.float32), torch.tensor(mesh.faces)


def test_triangle_covers_exactly_its_pixel_centres() -> None:
    corners = torch.tensor([[1.2, 1.1, 3.0], [14.3, 2.2, 3.0], [4.1, 12.7, 3.0]])
    raster = rasterize(corners, torch.tensor([[0, 1, 2]]), 16, 20)
    for row in range(16):
        for column in range(20):
            point = torch.tensor([column + 0.5, row + 0.5])
            signs = []
            for k in range(3):
                a, b = corners[k, :2], corners[(k + 1) % 3, :2]
                signs.append(float((b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])))
            inside = min(signs) > 0 or max(signs) < 0
            assert bool(raster.face_index[row, column] == 0) == inside


def test_interpolation_is_linear() -> None:
    corners = torch.tensor([[0.0, 0, 1], [32, 0, 2], [0, 32, 5]])
    faces = torch.tensor([[0, 1, 2]])
    raster = rasterize(corners, faces, 32, 32)
    hit = raster.face_index == 0
    assert 400 < int(hit.sum()) < 600
    rows, columns = torch.nonzero(hit, as_tuple=True)
    x, y = columns + 0.5, rows + 0.5
    torch.testing.assert_close(raster.depth[hit], 1 + x / 32 + 4 * y / 32, atol=1e-4, rtol=0)
    torch.testing.assert_close(interpolate(raster, faces, corners)[hit][:, 0], x, atol=1e-3, rtol=0)
    torch.testing.assert_close(raster.barycentric[hit].sum(1), torch.ones(len(x)))


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_nearer_triangle_wins(order: list[int]) -> None:
    square = torch.tensor([[0.0, 0], [64, 0], [0, 64]])
    vertices = torch.cat(
        [torch.cat([square, torch.full((3, 1), depth)], dim=1) for depth in (2.0, 1.0)]
    )  # the second is nearer
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])[order]
    raster = rasterize(vertices, faces, 32, 32)
    assert torch.equal(raster.face_index, torch.full((32, 32), order.index(1)))


def test_intersecting_triangles_split_where_they_meet() -> None:
    near_left = torch.tensor([[-100.0, -100, 0], [164, -100, 2.64], [32, 300, 1.32]])  # depth = (x + 100) / 100
    flat = torch.tensor([[-100.0, -100, 1.32], [164, -100, 1.32], [32, 300, 1.32]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]])
    raster = rasterize(torch.cat([near_left, flat]), faces, 64, 64)
    expected = (torch.arange(64) + 0.5 > 32).long().expand(64, 64)
    assert torch.equal(raster.face_index, expected)


def test_big_and_small_triangles_beyond_the_border() -> None:
    big = torch.tensor([[-500.0, -500, 9], [900, -500, 9], [-500, 900, 9]])
    small = torch.tensor([[3.4, 3.4, 1], [3.6, 3.4, 1], [3.5, 3.7, 1]])
    outside = small + torch.tensor([100.0, 0, 0])
    raster = rasterize(torch.cat([big, small, outside]), torch.arange(9).view(3, 3), 24, 24)
    assert int((raster.face_index == 0).sum()) == 24 * 24 - 1
    assert int(raster.face_index[3, 3]) == 1


def test_nothing_to_see() -> None:
    raster = rasterize(torch.tensor([[50.0, 50, 0], [60, 50, 0], [50, 60, 0]]), torch.tensor([[0, 1, 2]]), 8, 8)
    assert torch.equal(raster.face_index, torch.full((8, 8), -1))
    assert bool(raster.depth.isinf().all())


def test_sphere_silhouette_area() -> None:
    vertices, faces = sphere(0.5)
    area = silhouette(vertices, faces, 256).float().sum() / 128**2  # world units
    assert float(area) == pytest.approx(torch.pi * 0.25, rel=0.01)


def test_normals_of_a_sphere() -> None:
    vertices, faces = sphere(0.5)
    normals, mask = render_normals(vertices, faces, 129)
    centre = (torch.arange(129) + 0.5) / 64.5 - 1
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    inside = x**2 + y**2 < 0.45**2
    z = (0.25 - x**2 - y**2).clamp_min(0).sqrt()
    expected = torch.stack([x, -y, z], dim=-1) / 0.5  # right, up (the world's y points down), to the viewer
    assert bool(mask[inside].all())
    cosine = (normals * F.normalize(expected, dim=-1)).sum(-1)[inside]
    assert float(cosine.min()) > 0.999
    assert normals[64, 20 + 20][0] < -0.5
    assert normals[40, 64][1] > 0.5
    assert normals[64, 64][2] > 0.9999
    assert bool((normals[~mask] == 0).all())


def test_culling_leaves_out_far_sides() -> None:
    vertices, faces = sphere(10.0)
    screen = torch.stack([vertices[:, 0] + 16, vertices[:, 1] + 16, vertices[:, 2]], dim=1)
    whole, culled = (rasterize(screen, faces, 32, 32, cull=cull) for cull in (False, True))
    torch.testing.assert_close(culled.depth, whole.depth)
    flipped = rasterize(screen, faces.flip(1), 32, 32, cull=True)  # only the far side is left
    assert float(flipped.depth[16, 16]) > 9
    assert float(whole.depth[16, 16]) < -9


def test_vertex_normals_point_outwards() -> None:
    vertices, faces = sphere(2.0)
    torch.testing.assert_close(vertex_normals(vertices, faces), F.normalize(vertices, dim=1), atol=0.01, rtol=0)


def test_body_seen_from_the_front(tiny_body: Body) -> None:
    vertices = tiny_body.from_label(labels.canonical_label()).vertices[0]
    normals, mask = render_normals(vertices, tiny_body.faces, 64)
    columns = torch.nonzero(mask)[:, 1]
    assert normals[mask][:, 2].min() > -0.35  # smoothed vertex normals may look a little away at the rim
    assert normals[mask][:, 2].mean() > 0.5
    column = normals[:, 32][mask[:, 32]]
    assert column[0][1] > 0.3  # the top of the head looks up
    assert columns.max() - columns.min() > 48 * (0.76 * 2) / 2  # arms out
