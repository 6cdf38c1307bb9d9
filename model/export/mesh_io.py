"""Mesh files that other programs open: .glb, .obj, .ply."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.visual import TextureVisuals

from ag3d.core.bounded import read_bytes
from ag3d.core.errors import UserError
from ag3d.core.files import atomic
from ag3d.core.shards import encode_png
from ag3d.model.avatars.mesh import smooth_normals, texture_of, vertex_colors, with_vertex_colors
from ag3d.model.export.gltf import INDICES, VERTICES, Glb

SUFFIXES = (".glb", ".obj", ".ply")


def check_suffix(path: Path, allowed: tuple[str, ...] = SUFFIXES) -> None:
    """Raises UserError where no such file can be written under that name."""
    if path.suffix not in allowed:
        *first, last = allowed
        raise UserError(f"{path}: the name must end in {', '.join(first)}{' or ' if first else ''}{last}")


def write_mesh(mesh: trimesh.Trimesh, path: Path) -> None:
    """Write .glb, .obj or .ply atomically. Raises UserError on another suffix.

    A texture lies inside a .glb, and beside an .obj (<name>.mtl, <name>.png); a .ply can carry vertex colours only.
    Vertex colours are sRGB in .obj and .ply, and linear in .glb, as glTF 2.0 (3.7.2.1) has them.
    """
    check_suffix(path)
    if path.suffix == ".glb":
        data = glb_of(mesh)
    elif path.suffix == ".ply":
        data = export_ply(_with_smooth_normals(with_vertex_colors(mesh)), vertex_normal=True)
    else:
        data = _obj(mesh, path)
    with atomic(path) as beside:
        beside.write_bytes(data)


def check_beside(path: Path) -> None:
    """Raises UserError where an .obj's material or texture would replace a file that is not of an earlier one."""
    if path.suffix != ".obj":
        return
    material, picture = (path.with_name(_plain(path) + suffix) for suffix in (".mtl", ".png"))
    for file, owner in ((material, path), (picture, material)):
        if file.exists() and not (owner.is_file() and file.name in read_bytes(owner)[:10_000].decode(errors="replace")):
            raise UserError(f"{file} exists, and would be replaced by a part of {path}; choose another name")


def _plain(path: Path) -> str:
    """The name under which others refer to what belongs to `path`: readers of .obj and .mtl end names at blanks."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", path.stem)


def glb_of(mesh: trimesh.Trimesh, name: str = "person") -> bytes:
    """A mesh that does not move, as glTF."""
    glb = Glb()
    node = glb.add("nodes", {"mesh": add_mesh(glb, mesh, name), "name": name})
    glb.tree["scene"] = glb.add("scenes", {"nodes": [node]})
    return glb.tobytes()


def add_mesh(glb: Glb, mesh: trimesh.Trimesh, name: str, extra: dict[str, int] | None = None) -> int:
    """Add a mesh with normals and texture or colours to a file; `extra` attributes are accessors. Its index."""
    attributes = {
        "POSITION": glb.array(np.asarray(mesh.vertices, np.float32), VERTICES, bounds=True),
        "NORMAL": glb.array(smooth_normals(mesh).astype(np.float32), VERTICES),
        **(extra or {}),
    }
    if isinstance(mesh.visual, TextureVisuals):
        upwards = np.asarray(mesh.visual.uv, np.float32)  # trimesh counts v from below, glTF from above
        attributes["TEXCOORD_0"] = glb.array(
            np.stack([upwards[:, 0], 1 - upwards[:, 1]], axis=1).astype(np.float32), VERTICES
        )
        material = glb.material(glb.texture(encode_png(texture_of(mesh)), "image/png"))
    else:
        material = glb.material()
        light = srgb_to_linear(vertex_colors(mesh))
        attributes["COLOR_0"] = glb.array(light, VERTICES, normalized=True)
    kind = np.uint16 if len(mesh.vertices) < 2**16 - 1 else np.uint32
    indices = glb.array(np.asarray(mesh.faces).astype(kind).reshape(-1), INDICES)
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices, "material": material}
    return glb.add("meshes", {"name": name, "primitives": [primitive]})


def srgb_to_linear(colors: np.ndarray) -> np.ndarray:
    """uint8 [n,4] of sRGB (IEC 61966-2-1) and alpha to uint16 [n,4] of linear light and alpha; dark colours stay apart."""
    encoded = colors[:, :3] / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.rint(np.concatenate([light, colors[:, 3:] / 255], axis=1) * 65535).astype(np.uint16)


def _obj(mesh: trimesh.Trimesh, path: Path) -> bytes:
    """The text; a texture's files are written beside `path`."""
    smooth = _with_smooth_normals(mesh)
    if isinstance(smooth.visual, TextureVisuals):
        smooth.visual.material.name = _plain(path)
    text, files = export_obj(
        smooth, include_normals=True, return_texture=True, mtl_name=f"{_plain(path)}.mtl", header="ag3d, metres, y up"
    )
    for beside_name, content in files.items():
        with atomic(path.with_name(beside_name)) as beside:
            beside.write_bytes(content if isinstance(content, bytes) else content.encode())
    return text.encode()


def _with_smooth_normals(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    visual = mesh.visual.copy() if mesh.visual is not None else None
    return trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=smooth_normals(mesh), visual=visual, process=False)
