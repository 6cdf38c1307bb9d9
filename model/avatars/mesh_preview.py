"""Pictures of meshes, shaded, without a window or a GPU."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
import trimesh

from ag3d.core.camera import project_pinhole
from ag3d.model.avatars.mesh import vertex_colors
from ag3d.model.body import label as labels
from ag3d.model.rendering.rasterizer import interpolate, rasterize, to_screen, vertex_normals

_SUN = (0.3, 0.5, 0.8)  # x right, y up, z to the viewer
_GREY = 205.0


def render_mesh(mesh: trimesh.Trimesh, side: int = 384, turn: float = 0.0, colored: bool = True) -> np.ndarray:
    """A shaded picture of a mesh (y up), turned about the vertical axis: uint8 [side,side,3]."""
    cosine, sine = np.cos(turn), np.sin(turn)
    vertices = np.asarray(mesh.vertices) @ np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]).T
    vertices = (vertices - (vertices.min(0) + vertices.max(0)) / 2) * [1, -1, -1]
    world = torch.from_numpy(vertices).float() / max(1.0, float(np.abs(vertices[:, :2]).max()) * 1.05)
    return _shaded(mesh, world, to_screen(world, 2 * side), side, colored)


def render_posed_mesh(mesh: trimesh.Trimesh, label: torch.Tensor, side: int) -> np.ndarray:
    """A grey picture of a posed mesh (see posed_mesh) by the camera of the label [1,111]: uint8 [side,side,3]."""
    world = torch.from_numpy(np.asarray(mesh.vertices) * [1, -1, -1]).float()
    local, screen = project_to_camera(world, label.cpu(), 2 * side)
    return _shaded(mesh, local, screen, side, colored=False)


def project_to_camera(world: torch.Tensor, label: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Points [V,3] of a label's world by its camera [1,111]: in the camera's axes [V,3], and as pixels and depth [V,3]."""
    parts = labels.split(label)
    local, on_image = project_pinhole(world[None], parts.cam2world, parts.intrinsics)
    return local[0], torch.cat([on_image[0] * side, local[0, :, 2:]], dim=1)


def _shaded(mesh: trimesh.Trimesh, points: torch.Tensor, screen: torch.Tensor, side: int, colored: bool) -> np.ndarray:
    """points [V,3]: x right, y down, z away; screen [V,3]: pixels of twice the side, and depth."""
    faces = torch.from_numpy(np.asarray(mesh.faces)).long()
    raster = rasterize(screen, faces, 2 * side, 2 * side)
    normals = vertex_normals(points, faces) * points.new_tensor([1.0, -1.0, -1.0])
    shade = 0.35 + 0.65 * (normals @ F.normalize(torch.tensor(_SUN), dim=0)).clamp_min(0)
    base = torch.full((len(points), 3), _GREY)
    if colored:
        base = torch.from_numpy(vertex_colors(mesh)[:, :3].copy()).float()
    image = interpolate(raster, faces, base * shade[:, None])
    image[raster.face_index < 0] = 255
    return image.view(side, 2, side, 2, 3).mean(dim=(1, 3)).clamp(0, 255).byte().numpy()
