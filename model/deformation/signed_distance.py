"""The canonical body's signed distance on a grid, positive inside."""

from __future__ import annotations

import contextlib

import numpy as np
import torch
from scipy.spatial import cKDTree

from ag3d.core.bounded import read_npz
from ag3d.core.errors import UserError
from ag3d.core.files import atomic, cache_folder

_VERSION = 3  # of what is kept in the cache


def cached_signed_distance(points: torch.Tensor, vertices: torch.Tensor, faces: torch.Tensor, key: str) -> torch.Tensor:
    """`signed_distance` on the regular grid `points`, kept in the cache folder under `key` (a hash of the body)."""
    file = cache_folder() / f"sdf{_VERSION}-{key[:24]}-{'x'.join(map(str, points.shape[:3]))}.npz"
    with contextlib.suppress(UserError, KeyError, OSError), read_npz(file) as kept:
        found = kept["distance"]
        if found.shape == points.shape[:3] and found.dtype == np.float32:
            return torch.from_numpy(found).to(points.device)
    values = signed_distance(points.cpu(), vertices.cpu(), faces.cpu())
    try:
        with atomic(file) as beside:
            np.savez(beside, allow_pickle=False, distance=values.numpy())  # zips have checksums
    except OSError:
        pass  # an unwritable cache costs time, nothing else
    return values.to(points.device)


def signed_distance(points: torch.Tensor, vertices: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
    """Distance to the mesh at the grid points [D,H,W,3] (z, y, x axes, regular): [D,H,W], positive inside.

    A mouth counts as inside: pockets that the mesh encloses in all six directions of the axes, and their walls are none.
    """
    grid = points.numpy()
    mesh = vertices.numpy().astype(np.float64)[faces.numpy()]
    inside, pocket = inside_grid(grid, mesh)
    outer = mesh[~_faces_pocket(grid, mesh, pocket)]
    distance = distance_to_triangles(grid.reshape(-1, 3).astype(np.float64), outer).reshape(grid.shape[:3])
    return torch.from_numpy(np.where(inside | pocket, distance, -distance).astype(np.float32))


def _faces_pocket(grid: np.ndarray, triangles: np.ndarray, pocket: np.ndarray) -> np.ndarray:
    """Which triangles [F] have a pocket's grid point beside the place half a grid step or a whole one before them."""
    low, step = grid[0, 0, 0].astype(np.float64), (grid[1, 1, 1] - grid[0, 0, 0]).astype(np.float64)
    normal = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    faces_pocket = np.zeros(len(triangles), bool)
    for far in (0.5, 1.0):
        voxel = np.rint((triangles.mean(axis=1) + far * step.min() * normal - low) / step).astype(int)
        voxel = np.clip(voxel, 0, np.array(pocket.shape)[::-1] - 1)
        faces_pocket |= pocket[voxel[:, 2], voxel[:, 1], voxel[:, 0]]
    return faces_pocket


def distance_to_triangles(
    points: np.ndarray, triangles: np.ndarray, candidates: int = 12, exact_within: float = 0.2
) -> np.ndarray:
    """Distances [n] of points [n,3] to triangles [F,3,3]: exact among the nearest candidates by centroid.

    Farther from the mesh than `exact_within` the distance to the nearest centroid stands (off by at most a triangle's size).
    """
    tree = cKDTree(triangles.mean(axis=1))
    near, index = tree.query(points, k=min(candidates, len(triangles)), workers=-1)
    near, index = near.reshape(len(points), -1), index.reshape(len(points), -1)
    out = near[:, 0].copy()
    chosen = np.flatnonzero(out < exact_within)
    for part in np.array_split(chosen, max(1, len(chosen) // 20_000)):
        squared = np.full(len(part), np.inf)
        for column in range(index.shape[1]):
            squared = np.minimum(squared, _squared_distance(points[part], triangles[index[part, column]]))
        out[part] = np.sqrt(squared)
    return out


def _squared_distance(p: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Squared distance of each point [n,3] to its triangle [n,3,3]: the plane's foot if it is inside, else the nearest edge."""
    a, b, c = triangle[:, 0], triangle[:, 1], triangle[:, 2]
    ab, ac, ap = b - a, c - a, p - a
    normal = np.cross(ab, ac)
    area = np.maximum((normal**2).sum(1), 1e-24)
    v = (np.cross(ap, ac) * normal).sum(1) / area
    w = (np.cross(ab, ap) * normal).sum(1) / area
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    plane = (ap * normal).sum(1) ** 2 / area

    def edge(start: np.ndarray, along: np.ndarray) -> np.ndarray:
        t = np.clip(((p - start) * along).sum(1) / np.maximum((along**2).sum(1), 1e-24), 0, 1)
        return ((p - start - t[:, None] * along) ** 2).sum(1)

    return np.where(inside, plane, np.minimum(np.minimum(edge(a, ab), edge(a, ac)), edge(b, c - b)))


def inside_grid(grid: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which points of a regular grid [D,H,W,3] lie inside the mesh [F,3,3], and which outside but enclosed: [D,H,W] each.

    Along each of the three axes, signed crossings are counted; the majority decides. This forgives small holes and
    parts nested in one another (eyeballs in a head). Enclosed is what sees the mesh in both directions of every axis.
    """
    votes = np.zeros(grid.shape[:3], np.int8)
    enclosed = np.ones(grid.shape[:3], bool)
    for axis in range(3):  # x, y, z
        winding, ahead, behind = _crossings_along(grid, triangles, axis)
        votes += winding > 0
        enclosed &= ahead & behind
    return votes >= 2, enclosed & (votes < 2)


def _crossings_along(grid: np.ndarray, triangles: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crossings of the rays from each point along an axis, [D,H,W] each.

    Towards +: leaving minus entering, and whether there is any; whether there is any towards -.
    """
    first, second = [other for other in range(3) if other != axis]
    low, high = grid[0, 0, 0].astype(np.float64), grid[-1, -1, -1].astype(np.float64)
    sizes = np.array(grid.shape[2::-1])  # along x, y, z
    corners = (triangles - low) / (high - low) * (sizes - 1)  # in units of grid steps
    # Off the lines, so that no edge is hit twice.
    u, v, t = corners[..., first] + 1e-5, corners[..., second] + 1.7e-5, corners[..., axis]
    area = (u[:, 1] - u[:, 0]) * (v[:, 2] - v[:, 0]) - (u[:, 2] - u[:, 0]) * (v[:, 1] - v[:, 0])
    crossings = np.zeros((sizes[first], sizes[second], sizes[axis] + 1), np.int32)
    touched = np.zeros(crossings.shape, bool)
    u0, v0 = np.ceil(u.min(1)).astype(int), np.ceil(v.min(1)).astype(int)
    u1, v1 = np.floor(u.max(1)).astype(int), np.floor(v.max(1)).astype(int)
    extent = np.maximum(u1 - u0, v1 - v0) + 1
    valid = (u1 >= u0) & (v1 >= v0) & (np.abs(area) > 1e-12)
    one, other = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    sign = np.where(one[:, first] * other[:, second] - other[:, first] * one[:, second] > 0, 1, -1)
    if axis == 1:  # (x, z) is a left-handed pair of axes
        sign = -sign
    for side in np.unique(extent[valid]):
        chosen = np.flatnonzero(valid & (extent == side))
        offset = np.arange(side)
        cu = u0[chosen][:, None, None] + offset[:, None]
        cv = v0[chosen][:, None, None] + offset
        cu, cv = np.broadcast_arrays(cu, cv)
        tri_u, tri_v, tri_t = u[chosen][:, None, None], v[chosen][:, None, None], t[chosen][:, None, None]
        whole = area[chosen][:, None, None]
        b0, b1 = (_across(tri_u, tri_v, cu, cv, *edge) / whole for edge in ((1, 2), (2, 0)))
        on_grid = (cu >= 0) & (cv >= 0) & (cu < sizes[first]) & (cv < sizes[second])
        hit = (b0 >= 0) & (b1 >= 0) & (b0 + b1 <= 1) & on_grid
        at = b0 * tri_t[..., 0] + b1 * tri_t[..., 1] + (1 - b0 - b1) * tri_t[..., 2]
        slot = np.clip(np.ceil(at), 0, sizes[axis]).astype(int)
        signs = np.broadcast_to(sign[chosen][:, None, None], hit.shape)
        np.add.at(crossings, (cu[hit], cv[hit], slot[hit]), signs[hit])
        touched[cu[hit], cv[hit], slot[hit]] = True
    winding = crossings[:, :, ::-1].cumsum(axis=2)[:, :, ::-1][:, :, 1:]  # crossings with t > k
    ahead = np.logical_or.accumulate(touched[:, :, ::-1], axis=2)[:, :, ::-1][:, :, 1:]
    behind = np.logical_or.accumulate(touched, axis=2)[:, :, :-1]
    order = {0: (1, 0, 2), 1: (1, 2, 0), 2: (2, 1, 0)}[axis]  # to [z,y,x]
    return winding.transpose(order), ahead.transpose(order), behind.transpose(order)


def _across(u: np.ndarray, v: np.ndarray, cu: np.ndarray, cv: np.ndarray, start: int, end: int) -> np.ndarray:
    """Twice the signed areas of triangles of places (cu, cv) and the edges from corner `start` to `end` of u, v [...,3]."""
    along = (u[..., end] - u[..., start]) * (cv - v[..., start])
    return along - (v[..., end] - v[..., start]) * (cu - u[..., start])
