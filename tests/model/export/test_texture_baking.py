"""Textures painted with the network's images: the surface looks as the images do, also from where none was taken."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import trimesh

from ag3d.model.avatars.identities import People, canonical_labels, orbit_view
from ag3d.model.avatars.mesh import canonical_mesh, posed_mesh, texture_of
from ag3d.model.avatars.mesh_preview import project_to_camera
from ag3d.model.body import label as labels
from ag3d.model.export import texture, texture_baking
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import interpolate, rasterize

SIDE = 256


@pytest.fixture(scope="module")
def people(small_generator: Generator) -> People:
    """One person of a network of hard surfaces whose super-resolution makes raw colours paler and greener."""
    network = copy.deepcopy(small_generator)
    network.decoder.layers[1].weight[1:] *= 0.3
    network.renderer.sigmoid_beta.fill_(0.003)
    network.resolution, network.neural_resolution = 96, 96

    def paler(raw: torch.Tensor, features: torch.Tensor, ws: torch.Tensor) -> torch.Tensor:
        return 0.5 * raw + torch.tensor([0.1, 0.4, 0.1])[None, :, None, None]

    network.superresolution.forward = paler  # type: ignore[method-assign]
    return People(network, labels.canonical_label(), 1, 2, 1.0)


@pytest.fixture(scope="module")
def plain(people: People) -> trimesh.Trimesh:
    return canonical_mesh(people.generator, people.planes(), 80, faces=3000)


def seen(people: People, mesh: trimesh.Trimesh, label: torch.Tensor, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The textured mesh by the label's camera: colours [side,side,3] and where there is somebody."""
    posed = posed_mesh(people.generator, mesh, label)
    faces = torch.from_numpy(np.asarray(posed.faces))
    _, screen = project_to_camera(torch.from_numpy(posed.vertices * [1, -1, -1]).float(), label, side)
    raster = rasterize(screen, faces, side, side)
    uv = interpolate(raster, faces, torch.from_numpy(np.asarray(mesh.visual.uv)).float()).numpy()
    picture = texture_of(mesh)
    row, column = ((part * SIDE).astype(int).clip(0, SIDE - 1) for part in (1 - uv[..., 1], uv[..., 0]))
    return picture[row, column], (raster.face_index >= 0).numpy()


@pytest.mark.parametrize("angle", [0.0, 0.35, 3.5])
def test_the_surface_looks_as_the_images(people: People, plain: trimesh.Trimesh, angle: float) -> None:
    who = texture_baking.ImageSource(people.ws[:1], people.betas[0])
    painted = texture.textured(people.generator, people.planes(), plain, SIDE, who)
    own = texture.textured(people.generator, people.planes(), plain, SIDE)
    label = orbit_view(canonical_labels(people), angle, people.generator)
    out = next(people.render(label, torch.tensor([0])))
    expected = ((out["image"][0].permute(1, 2, 0) + 1) * 127.5).numpy()
    error = {}
    for name, mesh in (("painted", painted), ("own", own)):
        colors, where = seen(people, mesh, label, 96)
        inside = where & (out["opacity"][0, 0] > 0.99).numpy()
        assert inside.mean() > 0.05
        error[name] = np.abs(colors - expected)[inside].mean()
    assert error["painted"] < 8
    assert error["painted"] < 0.4 * error["own"]


def test_what_no_image_sees_keeps_its_colour(people: People, plain: trimesh.Trimesh, monkeypatch) -> None:
    monkeypatch.setattr(texture_baking, "VIEWS", [(0, 0)])  # from the front only
    who = texture_baking.ImageSource(people.ws[:1], people.betas[0])
    painted = texture.textured(people.generator, people.planes(), plain, SIDE, who)
    own = texture.textured(people.generator, people.planes(), plain, SIDE)
    back = orbit_view(canonical_labels(people), np.pi, people.generator)
    for label, changed in ((canonical_labels(people), True), (back, False)):
        first, where = seen(people, painted, label, 96)
        second, _ = seen(people, own, label, 96)
        difference = np.median(np.abs(first.astype(int) - second)[where].max(1))
        assert difference > 15 if changed else difference <= 1


def test_it_repeats_itself(people: People, plain: trimesh.Trimesh) -> None:
    who = texture_baking.ImageSource(people.ws[:1], people.betas[0])
    first, again = (texture_of(texture.textured(people.generator, people.planes(), plain, 64, who)) for _ in range(2))
    assert np.array_equal(first, again)
