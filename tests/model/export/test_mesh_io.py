"""Mesh files that other programs read alike, and pictures of meshes."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from support.gltf_file import GltfFile
from trimesh.visual import TextureVisuals
from trimesh.visual.material import SimpleMaterial

from ag3d.core.errors import UserError
from ag3d.model.avatars.mesh_preview import render_mesh
from ag3d.model.export import mesh_io


@pytest.fixture
def painted() -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.7)
    mesh.apply_translation([0.1, -0.2, 0.3])
    colors = np.random.default_rng(1).integers(0, 256, (len(mesh.vertices), 3)).astype(np.uint8)
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)


@pytest.mark.parametrize("suffix", [".glb", ".ply", ".obj"])
def test_files_come_back(tmp_path: Path, painted: trimesh.Trimesh, suffix: str) -> None:
    path = tmp_path / f"mesh{suffix}"
    original = painted.visual.vertex_colors.copy()
    mesh_io.write_mesh(painted, path)
    again = trimesh.load_scene(path, process=False, maintain_order=True, skip_materials=True).to_mesh()
    np.testing.assert_allclose(again.vertices, painted.vertices, atol=1e-6)
    np.testing.assert_array_equal(again.faces, painted.faces)
    if suffix == ".glb":
        light = GltfFile(path).attributes()["COLOR_0"]
        np.testing.assert_allclose(light * 65535, mesh_io.srgb_to_linear(original), atol=1e-6)
    else:
        np.testing.assert_array_equal(again.visual.vertex_colors, original)
    np.testing.assert_array_equal(painted.visual.vertex_colors, original)  # the mesh itself stays
    first = path.read_bytes()
    mesh_io.write_mesh(painted, path)
    assert path.read_bytes() == first


def test_glb_says_what_viewers_need(tmp_path: Path, painted: trimesh.Trimesh) -> None:
    """glTF 2.0: linear colours, unit normals, and a material that is no metal."""
    mesh_io.write_mesh(painted, tmp_path / "mesh.glb")
    file = GltfFile(tmp_path / "mesh.glb")
    assert set(file.attributes()) == {"POSITION", "NORMAL", "COLOR_0"}
    (material,) = file.tree["materials"]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
    assert file.tree["scene"] == 0
    normals = file.attributes()["NORMAL"]
    outwards = painted.vertices - [0.1, -0.2, 0.3]
    assert (np.einsum("nc,nc->n", normals, outwards) > 0.69).all()


def test_light_of_colours() -> None:
    """Values of IEC 61966-2-1."""
    levels = np.array([[0, 10, 128, 255], [255, 188, 64, 7]], np.uint8)
    light = mesh_io.srgb_to_linear(levels) / 65535
    np.testing.assert_allclose(light[0], [0, 0.0030353, 0.2158605, 1], atol=1e-5)
    np.testing.assert_allclose(light[1], [1, 0.5028865, 0.0512695, 7 / 255], atol=1e-5)


def test_pictures_show_the_mesh_as_seen() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    colors = np.where(mesh.vertices[:, :1] > 0, [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    mesh = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
    front, back = render_mesh(mesh, 64), render_mesh(mesh, 64, turn=math.pi)
    right, left = front[32, 42], front[32, 22]
    assert right[0] > 2 * right[2]  # the mesh's +x is on the right
    assert left[2] > 2 * left[0]
    assert back[32, 22, 0] > 2 * back[32, 22, 2]
    grey = render_mesh(mesh, 64, colored=False)
    covered = (grey < 250).any(-1)
    assert float(covered.mean()) == pytest.approx(math.pi * 0.25 / 4, rel=0.05)
    assert grey[20, 32, 0] > grey[44, 32, 0] + 30  # light from above
    assert (grey[0] == 255).all()
    large = mesh.copy()
    large.apply_scale(10)
    assert (render_mesh(large, 64)[0, 0] == 255).all()  # shrunk into the picture


# ---- textures

QUARTERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)


@pytest.fixture
def square() -> trimesh.Trimesh:
    """A unit square facing +z whose texture is red, green (above), blue, yellow (below)."""
    mesh = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    image = Image.fromarray(QUARTERS.repeat(8, axis=0).repeat(8, axis=1))
    mesh.visual = TextureVisuals(uv=mesh.vertices[:, :2], material=SimpleMaterial(image=image))
    return mesh


def test_a_texture_inside_glb(tmp_path: Path, square: trimesh.Trimesh) -> None:
    mesh_io.write_mesh(square, tmp_path / "square.glb")
    file = GltfFile(tmp_path / "square.glb")
    found = file.attributes()
    assert set(found) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    # glTF counts v from above: the square's upper left corner is at the picture's first pixel.
    upper_left = np.flatnonzero((found["POSITION"] == [0, 1, 0]).all(1))
    np.testing.assert_array_equal(found["TEXCOORD_0"][upper_left], [[0, 0]])
    image = Image.open(io.BytesIO(file.picture()))
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert image.getpixel((15, 15)) == (255, 255, 0)


def test_a_texture_beside_obj(tmp_path: Path, square: trimesh.Trimesh) -> None:
    mesh_io.write_mesh(square, tmp_path / "my square.obj")
    assert {path.name for path in tmp_path.iterdir()} == {"my square.obj", "my_square.mtl", "my_square.png"}
    again = trimesh.load_mesh(tmp_path / "my square.obj", process=False)
    colors = again.visual.to_color().vertex_colors
    for place, color in (((0, 1, 0), (255, 0, 0)), ((1, 1, 0), (0, 255, 0)), ((0, 0, 0), (0, 0, 255))):
        (vertex,) = np.flatnonzero((again.vertices == place).all(1))
        assert tuple(colors[vertex][:3]) == color
    before = (tmp_path / "my square.obj").read_bytes()
    mesh_io.write_mesh(square, tmp_path / "my square.obj")
    assert (tmp_path / "my square.obj").read_bytes() == before


def test_a_texture_becomes_vertex_colours_in_ply(tmp_path: Path, square: trimesh.Trimesh) -> None:
    mesh_io.write_mesh(square, tmp_path / "square.ply")
    again = trimesh.load_mesh(tmp_path / "square.ply", process=False)
    np.testing.assert_array_equal(again.visual.vertex_colors[:, :3], [[0, 0, 255], [255, 255, 0], [0, 255, 0], [255, 0, 0]])  # fmt: skip


def test_other_names_are_refused(tmp_path: Path, square: trimesh.Trimesh) -> None:
    with pytest.raises(UserError, match=r"a.stl: the name must end in .glb, .obj or .ply"):
        mesh_io.write_mesh(square, tmp_path / "a.stl")
    with pytest.raises(UserError, match=r"a.obj: the name must end in .glb$"):
        mesh_io.check_suffix(tmp_path / "a.obj", (".glb",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stem", ["my person", "a\nb", "Größe", "#1"])
def test_parts_of_an_obj_are_found_whatever_its_name(tmp_path: Path, painted: trimesh.Trimesh, stem: str) -> None:
    image = Image.fromarray(np.full((8, 8, 3), 200, np.uint8))
    mesh = trimesh.Trimesh(painted.vertices, painted.faces, process=False)
    mesh.visual = TextureVisuals(uv=np.full((len(mesh.vertices), 2), 0.5), material=SimpleMaterial(image=image))
    path = tmp_path / f"{stem}.obj"
    mesh_io.check_beside(path)
    mesh_io.write_mesh(mesh, path)
    (material,) = (line.split()[1:] for line in path.read_text().splitlines() if line.startswith("mtllib"))
    assert len(material) == 1
    text = (tmp_path / material[0]).read_text()
    (picture,) = (line.split()[1:] for line in text.splitlines() if line.startswith("map_Kd"))
    assert len(picture) == 1
    assert (tmp_path / picture[0]).exists()
    mesh_io.check_beside(path)  # may be written again


@pytest.mark.parametrize("name", ["ada.png", "ada.mtl"])
def test_files_of_the_user_beside_an_obj_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=name):
        mesh_io.check_beside(tmp_path / "ada.obj")
    mesh_io.check_beside(tmp_path / "ada.glb")
