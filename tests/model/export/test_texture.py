"""Textures: every triangle has its own place, and its colours are those that the network shows there."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import trimesh
from support.dressing import dress

from ag3d.model.avatars.identities import People, canonical_labels
from ag3d.model.avatars.mesh import canonical_mesh, colors_at, posed_mesh, texture_of
from ag3d.model.body import label as labels
from ag3d.model.export import texture
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import interpolate, rasterize, to_screen

SIDE = 256


@pytest.fixture(scope="module")
def people(small_generator: Generator) -> People:
    """One person of many colours."""
    person = People(copy.deepcopy(small_generator), labels.canonical_label(), 1, 2, 1.0)
    dress(person.generator, person.ws)
    return person


@pytest.fixture(scope="module")
def plain(people: People) -> trimesh.Trimesh:
    return canonical_mesh(people.generator, people.planes(), 80, faces=3000)


@pytest.fixture(scope="module")
def painted(people: People, plain: trimesh.Trimesh) -> trimesh.Trimesh:
    return texture.textured(people.generator, people.planes(), plain, SIDE)


def test_the_surface_stays(plain: trimesh.Trimesh, painted: trimesh.Trimesh) -> None:
    assert len(painted.faces) == len(plain.faces)
    assert len(plain.vertices) < len(painted.vertices) < 3 * len(plain.vertices)
    np.testing.assert_allclose(np.sort(painted.area_faces), np.sort(plain.area_faces), rtol=1e-6)
    assert painted.volume == pytest.approx(plain.volume)


def test_no_two_triangles_share_a_place(painted: trimesh.Trimesh) -> None:
    uv = np.asarray(painted.visual.uv)
    assert uv.min() >= 0
    assert uv.max() <= 1
    corners = uv[painted.faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum() / 2
    # Counted on a grid, the covered part is as large as the triangles together: none lies on another.
    from matplotlib.path import Path

    centres = (np.indices((SIDE, SIDE)).reshape(2, -1).T + 0.5) / SIDE
    hits = np.zeros(len(centres), int)
    for triangle in corners:
        low, high = triangle.min(0), triangle.max(0)
        near = np.flatnonzero(((centres >= low) & (centres <= high)).all(1))
        hits[near] += Path(triangle).contains_points(centres[near])
    assert (hits > 1).mean() < 0.002
    assert 0.4 < area < 1
    assert (hits > 0).mean() == pytest.approx(area, rel=0.03)


def test_the_texture_shows_the_field(people: People, painted: trimesh.Trimesh) -> None:
    random = np.random.default_rng(0)
    chosen = random.choice(len(painted.faces), 500, p=painted.area_faces / painted.area)
    share = random.dirichlet([2, 2, 2], len(chosen))
    points = np.einsum("nk,nkc->nc", share, painted.vertices[painted.faces[chosen]])
    uv = np.einsum("nk,nkc->nc", share, np.asarray(painted.visual.uv)[painted.faces[chosen]])
    picture = texture_of(painted)
    shown = picture[((1 - uv[:, 1]) * SIDE).astype(int), (uv[:, 0] * SIDE).astype(int)].astype(int)
    expected = colors_at(people.generator, people.planes(), torch.from_numpy(points).float()).astype(int)
    assert expected.std(0).max() > 10  # the person has several colours
    error = np.abs(shown - expected).max(1)
    assert np.median(error) <= 4
    shuffled = np.abs(shown - random.permutation(expected)).max(1)
    assert np.median(error) < 0.35 * np.median(shuffled)


def test_a_textured_person_looks_as_rendered(people: People, painted: trimesh.Trimesh) -> None:
    """The mesh seen by the label's camera against the network's volume rendering of it."""
    side = 96
    label = canonical_labels(people)
    network = copy.deepcopy(people.generator)
    network.renderer.sigmoid_beta.fill_(0.003)  # hard surfaces: a mesh has no others
    with torch.no_grad():
        out = network.synthesis(people.ws, label, planes=people.planes(), neural_resolution=side)
    expected = (out["image_raw"][0].permute(1, 2, 0).numpy() + 1) * 127.5
    posed = posed_mesh(network, painted, label)
    faces = torch.from_numpy(np.asarray(posed.faces))
    world = torch.from_numpy(posed.vertices * [1, -1, -1]).float()
    raster = rasterize(to_screen(world, side), faces, side, side)
    uv = interpolate(raster, faces, torch.from_numpy(np.asarray(painted.visual.uv)).float()).numpy()
    shown = texture_of(painted)[
        ((1 - uv[..., 1]) * SIDE).astype(int).clip(0, SIDE - 1), (uv[..., 0] * SIDE).astype(int)
    ]
    both = (raster.face_index >= 0).numpy() & (out["opacity"][0, 0] > 0.99).numpy()
    assert both.mean() > 0.05
    error = np.abs(shown - expected)[both]
    assert expected[both].std(0).max() > 10
    assert error.mean() < 4


def test_gaps_take_the_nearest_colour() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    covered = np.zeros((40, 60), bool)
    covered[5:10, 5:10], covered[30:35, 50:55] = True, True
    picture[5:10, 5:10], picture[30:35, 50:55] = (200, 10, 10), (10, 10, 200)
    filled = texture.bleed_texture(picture, covered)
    assert (filled[covered] == picture[covered]).all()
    assert filled[0, 0].tolist() == filled[12, 12].tolist() == [200, 10, 10]
    assert filled[39, 59].tolist() == filled[28, 48].tolist() == [10, 10, 200]
    assert set(map(tuple, filled.reshape(-1, 3))) == {(200, 10, 10), (10, 10, 200)}
    nothing = np.zeros((4, 4), bool)
    assert (texture.bleed_texture(np.zeros((4, 4, 3), np.uint8), nothing) == 0).all()
