"""Rigged avatars: a textured mesh with SMPL's 24 joints, the deformer's skin weights and animations, as one .glb.

The avatar stands on the ground (y = 0) with its arms out, in metres, y up, facing +z, as glTF wants it. Playing an
animation in any viewer is the skinning by which the network's own images are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import trimesh

from ag3d.model.body.body import JOINTS, Body
from ag3d.model.deformation.canonical_body import SHIFT
from ag3d.model.export.clips import Clip, grounded
from ag3d.model.export.gltf import VERTICES, Glb
from ag3d.model.export.mesh_io import add_mesh
from ag3d.model.generator import Generator

INFLUENCES = 4  # joints that move a vertex: more is not portable


@dataclass
class Rig:
    """A standing avatar."""

    mesh: trimesh.Trimesh
    joints: torch.Tensor  # [24,3]
    weights: torch.Tensor  # [V,24], at most INFLUENCES of each row are not zero
    body: Body


@torch.no_grad()
def rig(generator: Generator, mesh: trimesh.Trimesh, betas: torch.Tensor) -> Rig:
    """Rig a canonical mesh with the joints of a body of shape `betas` [10]."""
    points = torch.from_numpy(np.asarray(mesh.vertices)).float()
    weights = generator.deformer.skinning(points.to(generator.deformer.weights.device)).cpu()
    standing = mesh.copy()
    raised = np.array([0.0, -float(mesh.vertices[:, 1].min()), 0.0])
    standing.vertices = mesh.vertices + raised
    body = generator.body.to("cpu")
    joints = body.rest_joints(betas.cpu()[None])[0] + torch.tensor(SHIFT) + torch.from_numpy(raised).float()
    return Rig(standing, joints, limit_influences(weights), body)


def limit_influences(weights: torch.Tensor) -> torch.Tensor:
    """Skin weights [n,24] with all but the INFLUENCES largest of each row set to zero; rows sum to 1."""
    values, index = weights.topk(INFLUENCES, dim=1)
    values = values.clamp_min(0)
    return torch.zeros_like(weights).scatter(1, index, values / values.sum(1, keepdim=True))


def avatar_glb(avatar: Rig, clips: list[Clip], name: str, extras: dict[str, Any] | None = None) -> bytes:
    """The file. Every clip is put on the ground; the first is what most viewers play at once."""
    glb = Glb(extras)
    nodes = _add_skeleton(glb, avatar)
    index, share = gltf_influences(avatar.weights)
    attributes = {
        "JOINTS_0": glb.array(index.astype(np.uint8), VERTICES),
        "WEIGHTS_0": glb.array(share, VERTICES, normalized=True),
    }
    mesh = add_mesh(glb, avatar.mesh, name, attributes)
    skinned = glb.add("nodes", {"mesh": mesh, "name": name, "skin": 0})
    glb.tree["scene"] = glb.add("scenes", {"nodes": [nodes[0], skinned]})
    points = torch.from_numpy(np.asarray(avatar.mesh.vertices)).float()
    for clip in clips:
        _add_clip(glb, grounded(clip, avatar.body, avatar.joints, points, avatar.weights), avatar, nodes)
    return glb.tobytes()


def gltf_influences(weights: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Skin weights [n,24] as glTF has them: joints [n,4] and shares uint16 [n,4] that sum to 65535; unused joints are 0."""
    values, index = weights.topk(INFLUENCES, dim=1)
    share = np.floor(values.double().numpy() * 65535 + 1e-6).astype(np.int64)
    share[:, 0] += 65535 - share.sum(1)
    return np.where(share > 0, index.numpy(), 0), share.astype(np.uint16)


def _add_skeleton(glb: Glb, avatar: Rig) -> list[int]:
    """Nodes of the joints, and the skin."""
    joints = avatar.joints.double().numpy()
    parents = avatar.body.parents
    nodes = []
    for joint, name in enumerate(JOINTS):
        offset = joints[joint] - (joints[parents[joint]] if joint else 0)
        nodes.append(glb.add("nodes", {"name": name, "translation": offset.tolist()}))
    for joint in range(1, len(JOINTS)):
        glb.tree["nodes"][nodes[parents[joint]]].setdefault("children", []).append(nodes[joint])
    inverse = np.tile(np.eye(4, dtype=np.float32), (len(JOINTS), 1, 1))
    inverse[:, :3, 3] = -joints
    glb.add("skins", {"joints": nodes, "skeleton": nodes[0], "inverseBindMatrices": glb.array(inverse), "name": "SMPL"})
    return nodes


def _add_clip(glb: Glb, clip: Clip, avatar: Rig, nodes: list[int]) -> None:
    timestamps = glb.array(np.arange(len(clip), dtype=np.float32) / np.float32(clip.fps), bounds=True)
    animation: dict[str, Any] = {"name": clip.name, "channels": [], "samplers": []}

    def channel(node: int, path: str, values: np.ndarray) -> None:
        animation["channels"].append({"sampler": len(animation["samplers"]), "target": {"node": node, "path": path}})
        animation["samplers"].append({"input": timestamps, "output": glb.array(values), "interpolation": "LINEAR"})

    channel(nodes[0], "translation", (clip.pelvis + avatar.joints[0]).numpy().astype(np.float32))
    for node, turns in zip(nodes, clip.quaternions().transpose(1, 0, 2)):
        channel(node, "rotation", turns)
    glb.add("animations", animation)
