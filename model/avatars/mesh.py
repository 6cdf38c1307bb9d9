"""The surface of a generated person as triangles: extracted from the field, thinned out, coloured, posed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from PIL import Image
from skimage.measure import marching_cubes
from trimesh.visual import ColorVisuals, TextureVisuals

from ag3d.core.errors import UserError
from ag3d.model.avatars.batching import map_with_oom_backoff
from ag3d.model.body.lbs import apply_transforms
from ag3d.model.generator import Generator

_REACH = 0.15  # metres from the body within which a surface is looked for
_LIMB = 0.04  # metres: nothing of a person that is thicker can hide in a block of cells of this size
_CARE = 3  # of 10, how hastily triangles are merged: from 4 on the surface moves more, below it none may be found


@torch.no_grad()
def canonical_mesh(
    generator: Generator, planes: torch.Tensor, resolution: int, faces: int | None = None, level: float = 0.0
) -> trimesh.Trimesh:
    """A level of the field of planes [1,3,C,P,P], with vertex colours; `resolution` voxels along its longest side.

    The largest piece, of at most `faces` triangles (None: as many as come out), in the canonical space: metres, y up,
    facing +z, right-handed. Raises UserError where the field has no surface.
    """
    volume, low, step = field_values(generator, planes, resolution, level)
    if volume.max() <= level:
        raise UserError("this person's field has no surface: has the network been trained?")
    # "ascent" winds the triangles counter-clockwise seen from where the values are low: outside.
    points, corners, _, _ = marching_cubes(volume, level, spacing=(step, step, step), gradient_direction="ascent")
    mesh = largest_piece(trimesh.Trimesh(points + low, corners, process=False))
    if faces is not None and len(mesh.faces) > faces:
        mesh = mesh.simplify_quadric_decimation(face_count=faces, aggression=_CARE)
    device = generator.deformer.vertices.device
    vertices = torch.from_numpy(np.asarray(mesh.vertices)).float().to(device)
    mesh.visual = ColorVisuals(mesh, vertex_colors=colors_at(generator, planes, vertices))
    return mesh


def field_values(
    generator: Generator, planes: torch.Tensor, resolution: int, level: float = 0.0, block: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """The signed value on a lattice around the body [X,Y,Z] (-1 far away), the place of its first point [3], its step.

    Only in blocks of `block`³ cells through which the level passes (1: everywhere; 0: as large as is still thinner than a
    limb); elsewhere a corner's value stands for the block's. The surface is followed from block to block, so that a
    piece is complete or missing, and missing are only those that pass between the blocks' corners: crumbs.
    """
    surface = generator.deformer.vertices
    low, high = surface.amin(0) - _REACH, surface.amax(0) + _REACH
    step = float((high - low).max()) / resolution
    block = block or max(1, min(4, int(_LIMB / step)))
    blocks = [-(-int(n) // block) for n in ((high - low) / step).ceil().long()]
    counts = [n * block + 1 for n in blocks]
    field = generator.canonical_field(planes)

    def evaluate(index: torch.Tensor) -> torch.Tensor:
        """At places of the lattice [n,3]."""
        values = torch.full((len(index),), -1.0, device=low.device)

        def evaluate_part(part: slice) -> None:
            cloud = low + step * index[part]
            near = torch.nonzero(field.body_sdf(cloud, gradient=False)[0] > -_REACH).squeeze(1)
            if len(near):
                image = torch.zeros(len(near), dtype=torch.long, device=low.device)
                values[part.start + near] = field.sdf(cloud[near], image)

        for _ in map_with_oom_backoff(len(index), _points_per_batch(low.device), evaluate_part, "point"):
            pass
        return values

    known = torch.zeros(counts, dtype=torch.bool, device=low.device)
    known[::block, ::block, ::block] = True
    coarse = evaluate(torch.nonzero(known)).view([n + 1 for n in blocks])
    volume = coarse
    if block > 1:
        for axis, count in enumerate(counts):
            volume = volume.repeat_interleave(block, axis).narrow(axis, 0, count)
        volume = volume.contiguous()
        reached = torch.zeros(blocks, dtype=torch.bool, device=low.device)
        while (frontier := _crossed(volume > level, block) & ~reached).any():
            reached |= frontier
            fresh = torch.nonzero(_points_of(frontier, block) & ~known)
            known[tuple(fresh.t())] = True
            volume[tuple(fresh.t())] = evaluate(fresh)
    return volume.cpu().numpy(), low.cpu().numpy(), step


def _crossed(inside: torch.Tensor, block: int) -> torch.Tensor:
    """Blocks [x,y,z] that hold both kinds of points of a lattice [x·block+1,y·block+1,z·block+1], their borders included."""

    def any_in(points: torch.Tensor) -> torch.Tensor:
        return F.max_pool3d(points[None].to(torch.float32), block + 1, block)[0] > 0

    return any_in(inside) & any_in(~inside)


def _points_of(blocks: torch.Tensor, block: int) -> torch.Tensor:
    """The lattice's points that belong to the blocks, their borders included."""
    for axis in range(3):
        inner = blocks.repeat_interleave(block, axis)
        none = torch.zeros_like(inner.narrow(axis, 0, 1))
        blocks = torch.cat([inner, none], axis) | torch.cat([none, inner], axis)
    return blocks


def largest_piece(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The connected piece with the largest area."""
    piece = trimesh.graph.connected_component_labels(mesh.face_adjacency, node_count=len(mesh.faces))
    largest = mesh.faces[piece == np.bincount(piece, weights=mesh.area_faces).argmax()]
    used, faces = renumbered(largest)
    return trimesh.Trimesh(mesh.vertices[used], faces, process=False)


def renumbered(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The vertices [n] that some of a mesh's triangles [F,3] use, and these triangles by their places among them."""
    used, index = np.unique(faces, return_inverse=True)
    return used, index.reshape(faces.shape)


def colors_at(generator: Generator, planes: torch.Tensor, points: torch.Tensor) -> np.ndarray:
    """The field's colours at canonical points [n,3]: uint8 [n,3]."""
    field = generator.canonical_field(planes)

    def evaluate(part: slice) -> np.ndarray:
        image = torch.zeros(len(points[part]), dtype=torch.long, device=points.device)
        color = field.residual(points[part], image, gradient=False).color[:, :3]
        return (color * 255).round().clamp(0, 255).byte().cpu().numpy()

    return np.concatenate(
        [
            np.zeros((0, 3), np.uint8),
            *map_with_oom_backoff(len(points), _points_per_batch(points.device), evaluate, "point"),
        ]
    )


def _points_per_batch(device: torch.device) -> int:
    """Points of the field: as many as the processor's cache likes, or as keep a GPU busy."""
    return 100_000 if device.type == "cpu" else 1 << 20


def posed_mesh(generator: Generator, mesh: trimesh.Trimesh, label: torch.Tensor) -> trimesh.Trimesh:
    """The canonical mesh skinned by the deformer's weights, in the world of the label [1,111] turned upright (y up)."""
    points = torch.from_numpy(np.asarray(mesh.vertices)).float().to(label.device)
    posed = mesh.copy()
    posed.vertices = (skin_points(generator, points, label) * points.new_tensor([1.0, -1.0, -1.0])).cpu().numpy()
    return posed


@torch.no_grad()
def skin_points(generator: Generator, points: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Canonical points [n,3] where the deformer carries them in the world of the label [1,111]: [n,3]."""
    transforms = generator.deformer.pose(label).bones[0]
    return apply_transforms((generator.deformer.skinning(points) @ transforms[:, :3].flatten(1)).view(-1, 3, 4), points)


def smooth_normals(mesh: trimesh.Trimesh) -> np.ndarray:
    """Unit normals [V,3] averaged by area, alike at vertices in the same place: no seam shows where a texture is cut."""
    _, first, same = np.unique(np.asarray(mesh.vertices), axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    summed = np.zeros((len(first), 3))
    by_area = np.asarray(mesh.face_normals) * np.asarray(mesh.area_faces)[:, None]
    for corner in range(3):
        np.add.at(summed, same[mesh.faces[:, corner]], by_area)
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    return np.where(length > 1e-12, summed / np.maximum(length, 1e-12), [0.0, 1.0, 0.0])[same]


def texture_of(mesh: trimesh.Trimesh) -> np.ndarray:
    """The texture of a textured mesh: uint8 [H,W,3]."""
    assert isinstance(mesh.visual, TextureVisuals)
    image = mesh.visual.material.image
    assert isinstance(image, Image.Image)
    return np.asarray(image.convert("RGB"))


def vertex_colors(mesh: trimesh.Trimesh) -> np.ndarray:
    """Colours at the vertices, uint8 [V,4]: its own, or those of its texture."""
    visual = with_vertex_colors(mesh).visual
    assert isinstance(visual, ColorVisuals)
    return np.asarray(visual.vertex_colors)


def with_vertex_colors(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with colours at its vertices, looked up in its texture where it has one."""
    if not isinstance(mesh.visual, TextureVisuals):
        return mesh
    texture = texture_of(mesh)
    height, width = texture.shape[:2]
    column = np.clip(np.floor(mesh.visual.uv[:, 0] * width), 0, width - 1).astype(int)
    row = np.clip(np.floor((1 - mesh.visual.uv[:, 1]) * height), 0, height - 1).astype(int)
    colored = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    colored.visual = ColorVisuals(colored, vertex_colors=texture[row, column])
    return colored
