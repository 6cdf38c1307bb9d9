"""A dressed person in front of the camera: layers shaped, posed, cut and joined into one list of triangles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ag3d.model.body.body import Body
from ag3d.model.body.lbs import apply_transforms, blend_skinning_weights
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.synthetic.clip import Cut, clip
from ag3d.preprocessing.synthetic.garments import Layer
from ag3d.preprocessing.synthetic.meshes import Mesh, Meshes, normals_of


@dataclass
class Scene:
    """Triangles in the label's world (metres; x right, y down, z away)."""

    vertices: np.ndarray  # [V,3]
    normals: np.ndarray  # [V,3] unit; x right, y up, z to the viewer
    canonical: np.ndarray  # [V,3] where on the mean body
    faces: np.ndarray  # [F,3]
    layer: np.ndarray  # [F] index of the layer


def bone_transforms_of(
    body: Body, betas: np.ndarray, body_pose: np.ndarray, global_orient: np.ndarray, transl: np.ndarray
) -> torch.Tensor:
    """[24,4,4] from the zero pose to the world."""
    pose = torch.as_tensor(np.concatenate([global_orient.reshape(1, 3), body_pose.reshape(23, 3)])).float()
    rest = body.rest_joints(torch.as_tensor(betas).float()[None])
    return body.forward_kinematics(axis_angle_to_matrix(pose)[None], rest, torch.as_tensor(transl).float()[None])[0][0]


def shape_and_pose(
    mesh: Mesh, displacement: np.ndarray | float, origin: np.ndarray, betas: np.ndarray, bone_transforms: torch.Tensor
) -> np.ndarray:
    """Vertices [V,3] of a mesh pushed by `displacement` (canonical frame), shaped by betas and posed by `bone_transforms` [24,4,4]."""
    shaped = mesh.canonical + displacement + origin + mesh.shapedirs @ betas.astype(np.float32)
    blended = blend_skinning_weights(torch.from_numpy(mesh.weights), bone_transforms[None])[0]
    return apply_transforms(blended, torch.from_numpy(shaped)).numpy()


def build_scene(layers: list[Layer], meshes: Meshes, betas: np.ndarray, bone_transforms: torch.Tensor) -> Scene:
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for layer in layers:
        mesh = layer.mesh
        vertices = shape_and_pose(mesh, layer.displacement, meshes.origin, betas, bone_transforms)
        normals = normals_of(vertices, mesh.faces) * np.array([1, -1, -1], np.float32)
        cut = (
            Cut(mesh.faces, np.zeros((0, 2), np.int64), np.zeros(0, np.float32))
            if layer.field is None
            else clip(mesh.faces, layer.field)
        )
        parts.append((cut.extend(vertices), cut.extend(normals), cut.extend(mesh.canonical), cut.faces))
    starts = np.cumsum([0] + [len(part[0]) for part in parts[:-1]])
    vertices, normals, canonical = (np.concatenate([part[k] for part in parts]) for k in range(3))
    faces = np.concatenate([part[3] + start for part, start in zip(parts, starts, strict=True)])
    layer_of = np.concatenate([np.full(len(part[3]), number) for number, part in enumerate(parts)])
    return Scene(vertices, normals, canonical, faces, layer_of)
