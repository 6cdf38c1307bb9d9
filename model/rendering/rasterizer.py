"""A z-buffer in plain torch: which triangle each pixel sees. The same code serves CPU and CUDA; nothing to compile."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 1 << 21  # candidate pixels tested at once


class Raster(NamedTuple):
    face_index: Tensor  # [H,W] int64, -1 where nothing is hit
    barycentric: Tensor  # [H,W,3]
    depth: Tensor  # [H,W], infinite where nothing is hit


@torch.no_grad()
def rasterize(screen_vertices: Tensor, faces: Tensor, height: int, width: int, cull: bool = False) -> Raster:
    """Nearest triangle at each pixel centre (k + 0.5).

    screen_vertices: [V,3] pixel x (right), pixel y (down), depth (smaller is nearer); faces: [F,3]. With `cull`,
    triangles that wind clockwise on the screen's y-up (those facing away) are left out.
    """
    device = screen_vertices.device
    triangles = screen_vertices.float()[faces]  # [F,3,3]
    x, y, z = triangles.unbind(-1)
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    left, right = (x.amin(1) - 0.5).ceil().clamp(0, width), (x.amax(1) - 0.5).floor().clamp(-1, width - 1)
    top, bottom = (y.amin(1) - 0.5).ceil().clamp(0, height), (y.amax(1) - 0.5).floor().clamp(-1, height - 1)
    usable = (right >= left) & (bottom >= top) & (area.abs() > 1e-9)
    if cull:
        usable &= area < 0
    extent = torch.maximum(right - left, bottom - top) + 1
    nearest, farthest = z.min(), z.max()
    steps = (2**30) / (farthest - nearest).clamp_min(1e-9)
    empty = torch.iinfo(torch.int64).max
    best = torch.full((height * width,), empty, dtype=torch.int64, device=device)

    # Triangles of similar size are tested together on a square of candidate pixels; depth and index share one integer,
    # so that a minimum finds the nearest.
    low, high = 0, 1
    largest = int(extent[usable].max()) if bool(usable.any()) else 0
    while low < largest:
        chosen = torch.nonzero(usable & (extent > low) & (extent <= high)).squeeze(1)
        low, high = high, max(high + 1, int(high * 1.5))
        for part in chosen.split(max(1, _CHUNK // low**2)):
            offset = torch.arange(low, device=device)
            columns, rows = left[part, None] + offset, top[part, None] + offset
            b0, b1 = _barycentric(
                x[part, :, None, None],
                y[part, :, None, None],
                area[part, None, None],
                columns[:, None] + 0.5,
                rows[:, :, None] + 0.5,
            )
            inside = (b0 >= 0) & (b1 >= 0) & (b0 + b1 <= 1) & (columns < width)[:, None] & (rows < height)[:, :, None]
            which, row, column = torch.nonzero(inside, as_tuple=True)
            w0, w1 = b0[inside], b1[inside]
            depth = w0 * z[part[which], 0] + w1 * z[part[which], 1] + (1 - w0 - w1) * z[part[which], 2]
            key = (((depth - nearest) * steps).clamp(0, 2**30).long() << 32) | part[which]
            pixel = (top[part][which].long() + row) * width + left[part][which].long() + column
            best.scatter_reduce_(0, pixel, key, "amin")

    hit = best != empty
    face_index = torch.where(hit, best & 0xFFFFFFFF, -1)
    barycentric = torch.zeros(height * width, 3, device=device)
    depth_map = torch.full((height * width,), float("inf"), device=device)
    pixels = torch.nonzero(hit).squeeze(1)
    visible = face_index[pixels]
    b0, b1 = _barycentric(
        x[visible].T, y[visible].T, area[visible], (pixels % width) + 0.5, (pixels // width) + 0.5, axis=0
    )
    barycentric[pixels] = torch.stack([b0, b1, 1 - b0 - b1], dim=1)
    depth_map[pixels] = (barycentric[pixels] * z[visible]).sum(1)
    return Raster(face_index.view(height, width), barycentric.view(height, width, 3), depth_map.view(height, width))


def _barycentric(x: Tensor, y: Tensor, area: Tensor, px: Tensor, py: Tensor, axis: int = 1) -> tuple[Tensor, Tensor]:
    """The first two barycentric coordinates of the points (px, py); corners lie along `axis` of x and y."""
    x0, x1, x2 = x.unbind(axis)
    y0, y1, y2 = y.unbind(axis)
    b0 = ((x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)) / area
    b1 = ((x0 - x2) * (py - y2) - (y0 - y2) * (px - x2)) / area
    return b0, b1


def interpolate(raster: Raster, faces: Tensor, values: Tensor) -> Tensor:
    """Vertex values [V,C] at the pixels: [H,W,C], zero where nothing is hit."""
    out = torch.zeros(*raster.face_index.shape, values.shape[1], device=values.device)
    hit = raster.face_index >= 0
    corners = values[faces[raster.face_index[hit]]]  # [n,3,C]
    out[hit] = (corners * raster.barycentric[hit][..., None]).sum(1)
    return out


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals [V,3], averaged over the adjoining triangles by area; outward for counter-clockwise faces."""
    corners = vertices[faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = torch.zeros_like(vertices)
    for corner in range(3):
        summed.index_add_(0, faces[:, corner], normals)
    return F.normalize(summed, dim=1)


def to_screen(vertices: Tensor, resolution: int) -> Tensor:
    """World vertices [V,3] (x, y in [-1,1] fill the image; z away) to pixels and depth."""
    half = resolution / 2
    return torch.stack([(vertices[:, 0] + 1) * half, (vertices[:, 1] + 1) * half, vertices[:, 2]], dim=1)


def render_normals(vertices: Tensor, faces: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Normals of a mesh in the label's world (y down, z away), seen by the data's camera.

    Returns unit normals [R,R,3] as normal maps have them (x right, y up, z to the viewer; zero where nothing is hit)
    and the mask [R,R]. Faces are counter-clockwise seen from outside, in the world's (right-handed) axes.
    """
    raster = rasterize(to_screen(vertices, resolution), faces, resolution, resolution)
    normals = vertex_normals(vertices, faces) * vertices.new_tensor([1.0, -1.0, -1.0])
    return F.normalize(interpolate(raster, faces, normals), dim=-1), raster.face_index >= 0


def silhouette(vertices: Tensor, faces: Tensor, resolution: int) -> Tensor:
    """Mask [R,R] of a mesh in the label's world."""
    return rasterize(to_screen(vertices, resolution), faces, resolution, resolution).face_index >= 0
