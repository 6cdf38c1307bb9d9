"""The meshes that people are dressed in: body, the garment and hair proxies, and shoes cut from the body's feet.

All share the body's zero pose ('canonical' frame, here with the mean body's pelvis at the origin), shape space and
skinning weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, cKDTree

from ag3d.core.bounded import read_npz
from ag3d.core.errors import UserError
from ag3d.core.landmarks import Joint
from ag3d.model.body.body import Body
from ag3d.model.body.smpl_file import dense_matrix
from ag3d.model.rendering.rasterizer import vertex_normals


@dataclass
class Mesh:
    """Triangles in the canonical frame, with what is needed to shape and pose them."""

    canonical: np.ndarray  # [V,3] float32, metres
    shapedirs: np.ndarray  # [V,3,10] float32
    weights: np.ndarray  # [V,24] float32
    faces: np.ndarray  # [F,3] int64
    normals: np.ndarray = field(init=False)  # [V,3] unit, of the canonical shape
    fill: np.ndarray = field(init=False)  # [V] how far loose cloth spans the body's hollows (metres, >= 0)
    drape: np.ndarray = field(
        init=False
    )  # [V,3] from the waist out to where cloth hangs from chest and shoulder blades

    def __post_init__(self) -> None:
        self.normals = normals_of(self.canonical, self.faces)


@dataclass
class Meshes:
    origin: np.ndarray  # [3] the mean body's pelvis in the body's own frame
    body: Mesh
    eyes: np.ndarray  # [V] 0: no eye, 1: right, 2: left eyeball
    eye_centres: np.ndarray  # [2,3] right, left
    tights: Mesh  # the whole body below the neck without hands, smooth
    skirt: Mesh  # from the waist to the ankles
    shoes: Mesh
    scalp: Mesh  # the head above the nape, without the face
    curtain: Mesh  # a sheet of hair around sides and back of the head
    curtain_angle: np.ndarray  # [V] radians about the head; 0 behind, positive to the left
    blob: Mesh  # a unit sphere bound to the head

    @staticmethod
    def load(body: Body, garments: Path) -> Meshes:
        """Read the garments file that belongs to `body`. Raises UserError."""
        if not garments.exists():
            raise UserError(f"the garments file {garments} does not exist; `ag3d body` builds it")
        origin = (body.J_regressor[0] @ body.v_template).numpy()
        with read_npz(garments) as data:
            tights, skirt = (_garment(data, name, origin, garments) for name in ("tights", "skirt"))
        skin = Mesh(body.v_template.numpy() - origin, body.shapedirs.numpy(), body.weights.numpy(), body.faces.numpy())
        tights, skirt = subdivide(tights), subdivide(subdivide(skirt))
        tights.drape = _drape(tights)
        tights.fill, skirt.fill = _hollow(tights), np.zeros(len(skirt.canonical), np.float32)
        eyes, centres = _eyeballs(skin, body.landmark_vertices.numpy())
        curtain, angle = _curtain(skin)
        shoes, scalp, blob = _shoes(skin), subdivide(_scalp(skin)), _blob(skin)
        return Meshes(origin, skin, eyes, centres, tights, skirt, shoes, scalp, curtain, angle, blob)


def _garment(data: Mapping[str, np.ndarray], part: str, origin: np.ndarray, path: Path) -> Mesh:
    names = [f"{part}_{name}" for name in ("v_template", "shapedirs", "weights_index", "weights_value", "faces")]
    missing = [name for name in names if name not in data]
    if missing:
        raise UserError(f"{path} is not a garments file of the open body: it has no {', '.join(missing)}")
    vertices, shapedirs, index, value, faces = (data[name] for name in names)
    count = len(vertices) if vertices.ndim else 0
    whole = (
        vertices.shape == (count, 3) and shapedirs.shape == (count, 3, 10) and faces.ndim == 2 and faces.shape[1] == 3
    )
    if not whole or faces.dtype.kind not in "iu" or faces.min(initial=0) < 0 or faces.max(initial=0) >= count:
        raise UserError(f"{path}: '{part}' is no garment of the open body; delete the file, `ag3d body` builds it")
    weights = dense_matrix(index, value, (count, 24), f"{path}: '{part}_weights'")
    return Mesh((vertices - origin).astype(np.float32), shapedirs, weights, faces.astype(np.int64))


def normals_of(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return vertex_normals(torch.as_tensor(vertices), torch.as_tensor(faces)).numpy()


def _submesh(mesh: Mesh, faces: np.ndarray) -> Mesh:
    used, numbered = np.unique(faces, return_inverse=True)
    return Mesh(
        mesh.canonical[used], mesh.shapedirs[used], mesh.weights[used], numbered.reshape(-1, 3).astype(np.int64)
    )


def subdivide(mesh: Mesh) -> Mesh:
    """Every triangle in four; new points bulge as the normals ask (Phong tessellation, Boubekeur and Alexa 2008)."""
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1)
    unique, back = np.unique(edges, axis=0, return_inverse=True)
    back = back.reshape(-1, 3) + len(mesh.canonical)
    a, b = unique.T
    middle = (mesh.canonical[a] + mesh.canonical[b]) / 2
    ends = ((mesh.canonical[end] - middle, mesh.normals[end]) for end in (a, b))
    lift = sum(normal * (offset * normal).sum(1, keepdims=True) for offset, normal in ends)
    given = (mesh.canonical, mesh.shapedirs, mesh.weights)
    joined = [np.concatenate([values, (values[a] + values[b]) / 2]) for values in given]
    joined[0][len(mesh.canonical) :] += 0.3 * lift
    f, (ab, bc, ca) = mesh.faces, back.T
    faces = np.concatenate(
        [np.stack(t, 1) for t in ((f[:, 0], ab, ca), (ab, f[:, 1], bc), (ca, bc, f[:, 2]), (ab, bc, ca))]
    )
    canonical, shapedirs, weights = (values.astype(np.float32) for values in joined)
    return Mesh(canonical, shapedirs, weights, faces)


def adjacency(mesh: Mesh) -> coo_matrix:
    """Row-normalised vertex neighbourhood [V,V]."""
    edges = mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    matrix = coo_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(len(mesh.canonical),) * 2).tocsr()
    matrix.data[:] = 1
    return matrix.multiply(1 / matrix.sum(1)).tocsr()


def _hollow(mesh: Mesh) -> np.ndarray:
    """How far a smoothed copy of the mesh lies outside it."""
    neighbours = adjacency(mesh)
    smooth: np.ndarray = mesh.canonical
    for _ in range(60):
        smooth = neighbours @ smooth
    return np.clip(((smooth - mesh.canonical) * mesh.normals).sum(1), 0, 0.05).astype(np.float32)


def _drape(mesh: Mesh) -> np.ndarray:
    """How far, outward, cloth falls from the widest part above: the running maximum of the torso's radius downward."""
    x, y, z = mesh.canonical.T
    torso = (y < 0.36) & (y > -0.12) & (np.abs(x) < 0.22)
    around, level = 48, 48
    angle = ((np.arctan2(x, z) / (2 * np.pi) + 0.5) * around).astype(int) % around
    height = np.clip((0.36 - y) / 0.48 * level, 0, level - 1).astype(int)  # 0 on top
    radius = np.hypot(x, z)
    table: np.ndarray = np.zeros((level, around), np.float32)
    np.maximum.at(table, (height[torso], angle[torso]), radius[torso])
    for row in range(1, level):  # falling a little inward
        table[row] = np.maximum(table[row], table[row - 1] - 0.15 * 0.48 / level)
    for _ in range(3):
        table = (np.roll(table, 1, 1) + 2 * table + np.roll(table, -1, 1)) / 4
        table[1:-1] = (table[:-2] + 2 * table[1:-1] + table[2:]) / 4
    out: np.ndarray = np.clip(table[height, angle] - radius, 0, 0.09) * torso
    neighbours = adjacency(mesh)
    for _ in range(12):
        out = neighbours @ out
    direction = np.stack([x, 0 * y, z], 1) / np.maximum(radius, 1e-3)[:, None]
    return (direction * out[:, None]).astype(np.float32)


def _eyeballs(skin: Mesh, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    edges = skin.faces[:, [[0, 1], [1, 2]]].reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(len(skin.canonical),) * 2)
    _, component = connected_components(graph, directed=False)
    eyes, centres = np.zeros(len(skin.canonical), np.int64), []
    for number, vertex in ((1, landmarks[1]), (2, landmarks[2])):
        inside = component == component[vertex]
        if inside.sum() < len(component) // 4:  # a body without separate eyeballs has none to paint
            eyes[inside] = number
        centres.append(skin.canonical[inside].mean(0) if (eyes == number).any() else skin.canonical[vertex])
    return eyes, np.array(centres, np.float32)


def _scalp(skin: Mesh) -> Mesh:
    x, y, z = skin.canonical.T
    inside = (skin.weights[:, Joint.HEAD] > 0.5) & (y > 0.585) & ((z < 0.12) | (y > 0.7))
    inside &= (np.abs(x) < 0.078) | (y > 0.695)  # no ears
    return _submesh(skin, skin.faces[inside[skin.faces].all(1)])


def _bind(skin: Mesh, points: np.ndarray, faces: np.ndarray, weights: np.ndarray | None = None) -> Mesh:
    """A new surface that takes shape and, unless given, weights from the skin beneath it."""
    _, nearest = cKDTree(skin.canonical).query(points, k=8)
    bound = skin.weights[nearest].mean(1) if weights is None else weights
    return Mesh(
        points.astype(np.float32), skin.shapedirs[nearest].mean(1), bound.astype(np.float32), faces.astype(np.int64)
    )


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    a = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    return np.concatenate([np.stack([a, a + columns, a + 1], 1), np.stack([a + 1, a + columns, a + columns + 1], 1)])


def _curtain(skin: Mesh) -> tuple[Mesh, np.ndarray]:
    angles, heights = np.linspace(-2.4, 2.4, 97), np.linspace(0.76, 0.16, 61)
    angle, y = (grid.ravel() for grid in np.meshgrid(angles, heights))
    wide = np.interp(
        y, [0.16, 0.40, 0.5, 0.6, 0.68, 0.72, 0.745, 0.76], [0.15, 0.14, 0.125, 0.113, 0.11, 0.104, 0.09, 0.07]
    )
    back = np.interp(
        y,
        [0.16, 0.3, 0.42, 0.5, 0.57, 0.64, 0.7, 0.735, 0.76],
        [-0.125, -0.145, -0.135, -0.115, -0.098, -0.09, -0.085, -0.072, -0.05],
    )
    z = 0.03 + np.where(np.abs(angle) < np.pi / 2, (back - 0.03) * np.cos(angle), -0.1 * np.cos(angle))
    points = np.stack([wide * np.sin(angle), y, z], 1)
    weights = np.zeros((len(y), 24))
    weights[:, Joint.HEAD] = np.interp(y, [0.44, 0.6], [0, 1])
    weights[:, Joint.SPINE3] = 1 - weights[:, Joint.HEAD]
    return _bind(skin, points, _grid_faces(61, 97), weights), angle


def _blob(skin: Mesh) -> Mesh:
    turn, rise = np.meshgrid(np.linspace(-np.pi, np.pi, 33), np.linspace(np.pi / 2, -np.pi / 2, 17))
    points = np.stack([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)], -1).reshape(-1, 3)
    head = np.flatnonzero(skin.weights[:, Joint.HEAD] > 0.9)
    weights = np.zeros((len(points), 24))
    weights[:, Joint.HEAD] = 1
    mesh = _bind(skin, points, _grid_faces(17, 33), weights)
    mesh.shapedirs = np.repeat(skin.shapedirs[head[skin.canonical[head, 1].argmax()]][None], len(points), 0)
    return mesh


def _shoes(skin: Mesh) -> Mesh:
    """Hulls of the feet: toe cap with instep, and heel with ankle, of either foot, rounded."""
    pieces = []
    for side in (1, -1):
        foot = (side * skin.canonical[:, 0] > 0) & (skin.canonical[:, 1] < -0.775)
        y, z = skin.canonical[:, 1], skin.canonical[:, 2]
        front = foot & (z > 0.0) & (y < -0.80 - 0.25 * np.clip(z, 0, 1))
        back = foot & (z < 0.075) & (y < -0.795)
        middle = foot & (z > -0.03) & (z < 0.10) & (y < -0.80 - 0.2 * np.clip(z, 0, 1))
        pieces += [_hull(skin, np.flatnonzero(foot_part)) for foot_part in (front, back, middle)]
    starts = np.cumsum([0, *(len(piece.canonical) for piece in pieces[:-1])])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=True)])
    canonical, shapedirs, weights = (
        np.concatenate([getattr(piece, key) for piece in pieces]) for key in ("canonical", "shapedirs", "weights")
    )
    return Mesh(canonical, shapedirs, weights, faces)


def _hull(skin: Mesh, vertices: np.ndarray) -> Mesh:
    """Convex hull of some vertices, its triangles divided and rounded, bound to the skin beneath."""
    points = skin.canonical[vertices].astype(np.float64)
    hull = ConvexHull(points)
    used, faces = np.unique(hull.simplices, return_inverse=True)
    faces = faces.reshape(-1, 3)
    corners = points[used][faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outward = np.einsum("fc,fc->f", across, hull.equations[:, :3])
    faces[outward < 0] = faces[outward < 0][:, ::-1]
    on_hull = vertices[used]
    mesh = Mesh(skin.canonical[on_hull], skin.shapedirs[on_hull], skin.weights[on_hull], faces.astype(np.int64))
    for _ in range(2):
        mesh = subdivide(mesh)
    smooth = mesh.canonical
    for _ in range(2):
        smooth = adjacency(mesh) @ smooth
    _, nearest = cKDTree(skin.canonical[vertices]).query(smooth, k=4)
    bound = vertices[nearest]
    return Mesh(smooth.astype(np.float32), skin.shapedirs[bound].mean(1), skin.weights[bound].mean(1), mesh.faces)
