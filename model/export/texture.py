"""Textures: a person's surface cut open and laid flat, and painted with the field's or the images' colours."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import trimesh
import xatlas
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import SimpleMaterial

from ag3d.model.export.mesh import colors_at
from ag3d.model.export.shown import Shown, painted
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import interpolate, rasterize

_GUTTER = 256  # one texel between pieces for each so many of the side: smaller copies of the texture mix them less
# How far a piece may bend before the next begins. With xatlas's 2 there are a tenth more pieces, and packing them takes most of
# the time of an export.
_MAX_COST = 6.0


def textured(
    generator: Generator, planes: torch.Tensor, mesh: trimesh.Trimesh, side: int, shown: Shown | None = None
) -> trimesh.Trimesh:
    """The canonical mesh with a texture of side × side pixels; vertices are doubled where the texture is cut.

    The person's planes are [1,3,C,P,P]. With `shown` the colours are those of the network's images, else the field's.
    """
    origin, faces, uv = unwrap(mesh, side)
    flat = trimesh.Trimesh(mesh.vertices[origin], faces, process=False)
    picture = bake(generator, planes, flat, uv, side, shown)
    material = SimpleMaterial(image=Image.fromarray(picture), diffuse=[255, 255, 255, 255])
    flat.visual = TextureVisuals(uv=np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1), material=material)
    return flat


def unwrap(mesh: trimesh.Trimesh, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay a mesh flat: which vertex each new one comes from [n], triangles [F,3], and places [n,2] in the texture.

    Places are in [0,1], from the upper left corner. No two triangles overlap.
    """
    atlas = xatlas.Atlas()
    atlas.add_mesh(np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.uint32))
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding = side, max(1, side // _GUTTER)
    pack.rotate_charts, pack.blockAlign = False, True
    chart = xatlas.ChartOptions()
    chart.max_cost = _MAX_COST
    atlas.generate(chart, pack)
    origin, faces, uv = atlas[0]
    return origin.astype(np.int64), faces.astype(np.int64), uv


@torch.no_grad()
def bake(
    generator: Generator,
    planes: torch.Tensor,
    mesh: trimesh.Trimesh,
    uv: np.ndarray,
    side: int,
    shown: Shown | None = None,
) -> np.ndarray:
    """Paint a texture uint8 [side,side,3] of a canonical mesh whose vertices lie at `uv` [V,2]."""
    device = planes.device
    faces = torch.from_numpy(np.asarray(mesh.faces)).to(device)
    screen = torch.from_numpy(np.column_stack([uv * side, np.zeros(len(uv))])).float().to(device)
    raster = rasterize(screen, faces, side, side)
    corners = torch.from_numpy(np.asarray(mesh.vertices)).float().to(device)
    hit = raster.face_index >= 0
    colors = colors_at(generator, planes, interpolate(raster, faces, corners)[hit])
    if shown is not None:
        colors = painted(shown, generator, planes, corners, faces, raster, colors)
    covered = hit.cpu().numpy()
    texture = np.zeros((side, side, 3), np.uint8)
    texture[covered] = colors
    return spread(texture, covered)


def spread(texture: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Fill what is not covered [H,W] with the nearest colour that is."""
    if covered.all() or not covered.any():
        return texture
    _, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors = np.zeros((nearest.max() + 1, 3), np.uint8)
    colors[nearest[covered]] = texture[covered]
    return colors[nearest]
