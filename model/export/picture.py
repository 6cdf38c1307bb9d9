"""Pictures of meshes, shaded, without a window or a GPU."""

from __future__ import annotations

import numpy as np
import torch
import trimesh

from ag3d.model.export.files import vertex_colors
from ag3d.model.rendering.rasterizer import interpolate, rasterize, to_screen, vertex_normals


def picture(mesh: trimesh.Trimesh, side: int = 384, turn: float = 0.0, colored: bool = True) -> np.ndarray:
    """A shaded picture of a mesh (y up), turned about the vertical axis: uint8 [side,side,3]."""
    cosine, sine = np.cos(turn), np.sin(turn)
    vertices = np.asarray(mesh.vertices) @ np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]).T
    vertices = (vertices - (vertices.min(0) + vertices.max(0)) / 2) * [1, -1, -1]
    world = torch.from_numpy(vertices).float() / max(1.0, float(np.abs(vertices[:, :2]).max()) * 1.05)
    faces = torch.from_numpy(np.asarray(mesh.faces)).long()
    raster = rasterize(to_screen(world, 2 * side), faces, 2 * side, 2 * side)
    normals = vertex_normals(world, faces) * world.new_tensor([1.0, -1.0, -1.0])
    shade = 0.35 + 0.65 * (normals @ torch.nn.functional.normalize(torch.tensor([0.3, 0.5, 0.8]), dim=0)).clamp_min(0)
    base = torch.full((len(world), 3), 205.0)
    if colored:
        base = torch.from_numpy(vertex_colors(mesh)[:, :3].copy()).float()
    image = interpolate(raster, faces, base * shade[:, None])
    image[raster.face_index < 0] = 255
    return image.view(side, 2, side, 2, 3).mean(dim=(1, 3)).clamp(0, 255).byte().numpy()
