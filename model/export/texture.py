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

from ag3d.model.avatars.mesh import colors_at, renumbered
from ag3d.model.export.texture_baking import ImageSource, bake_images
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import interpolate, rasterize

_GUTTER = 256  # one texel between pieces for each so many of the side: smaller copies of the texture mix them less
# How far a piece may bend before the next begins. With xatlas's 2 there are a tenth more pieces, which take longer to pack.
_MAX_COST = 6.0
# Triangles that are laid flat at once. xatlas's time grows faster than their number, and its threads share parts, so 20,000
# triangles in 16 parts take a tenth of the time of all together, with no more pieces in the end.
_PART = 1500


def textured(
    generator: Generator, planes: torch.Tensor, mesh: trimesh.Trimesh, side: int, source: ImageSource | None = None
) -> trimesh.Trimesh:
    """The canonical mesh with a texture of side × side pixels; vertices are doubled where the texture is cut.

    The person's planes are [1,3,C,P,P]. With a `source` the colours are those of the network's images, else the field's.
    """
    origin, faces, uv = unwrap(mesh, side)
    flat = trimesh.Trimesh(mesh.vertices[origin], faces, process=False)
    picture = bake(generator, planes, flat, uv, side, source)
    material = SimpleMaterial(image=Image.fromarray(picture), diffuse=[255, 255, 255, 255])
    flat.visual = TextureVisuals(uv=np.stack([uv[:, 0], 1 - uv[:, 1]], axis=1), material=material)
    return flat


def unwrap(mesh: trimesh.Trimesh, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lay a mesh flat: which vertex each new one comes from [n], triangles [F,3], and places [n,2] in the texture.

    Places are in [0,1], from the upper left corner. No two triangles overlap.
    """
    atlas = xatlas.Atlas()
    corners, pieces = np.asarray(mesh.vertices, np.float32), []
    for part in _split_triangles(corners[mesh.faces].mean(axis=1), _PART):
        used, faces = renumbered(mesh.faces[part])
        atlas.add_mesh(corners[used], faces.astype(np.uint32))
        pieces.append(used)
    pack = xatlas.PackOptions()
    pack.resolution, pack.padding = side, max(1, side // _GUTTER)
    pack.rotate_charts, pack.blockAlign = False, True
    chart = xatlas.ChartOptions()
    chart.max_cost = _MAX_COST
    atlas.generate(chart, pack)
    charts = [atlas[number] for number in range(len(pieces))]
    starts = np.cumsum([0, *(len(origin) for origin, _, _ in charts)])
    origin = np.concatenate([used[origin] for used, (origin, _, _) in zip(pieces, charts)])
    faces = np.concatenate([faces.astype(np.int64) + start for start, (_, faces, _) in zip(starts, charts)])
    return origin, faces, np.concatenate([uv for _, _, uv in charts])


def _split_triangles(centers: np.ndarray, most: int) -> list[np.ndarray]:
    """Indices of triangles with `centers` [n,3], halved along the longest side until no part has more than `most`."""
    queue, done = [np.arange(len(centers))], []
    while queue:
        part = queue.pop()
        if len(part) <= most:
            done.append(part)
            continue
        axis = np.ptp(centers[part], axis=0).argmax()
        order = part[np.argsort(centers[part, axis], kind="stable")]
        queue += [order[: len(order) // 2], order[len(order) // 2 :]]
    return done


@torch.no_grad()
def bake(
    generator: Generator,
    planes: torch.Tensor,
    mesh: trimesh.Trimesh,
    uv: np.ndarray,
    side: int,
    source: ImageSource | None = None,
) -> np.ndarray:
    """Paint a texture uint8 [side,side,3] of a canonical mesh whose vertices lie at `uv` [V,2]."""
    device = planes.device
    faces = torch.from_numpy(np.asarray(mesh.faces)).to(device)
    screen = torch.from_numpy(np.column_stack([uv * side, np.zeros(len(uv))])).float().to(device)
    raster = rasterize(screen, faces, side, side)
    corners = torch.from_numpy(np.asarray(mesh.vertices)).float().to(device)
    hit = raster.face_index >= 0
    colors = colors_at(generator, planes, interpolate(raster, faces, corners)[hit])
    if source is not None:
        colors = bake_images(source, generator, planes, corners, faces, raster, colors)
    covered = hit.cpu().numpy()
    texture = np.zeros((side, side, 3), np.uint8)
    texture[covered] = colors
    return bleed_texture(texture, covered)


def bleed_texture(texture: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Fill what is not covered [H,W] with the nearest colour that is."""
    if covered.all() or not covered.any():
        return texture
    _, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colors = np.zeros((nearest.max() + 1, 3), np.uint8)
    colors[nearest[covered]] = texture[covered]
    return colors[nearest]
