"""Linear blend skinning (Loper et al. 2015): from the joints' rotations to the points of a body."""

from __future__ import annotations

import functools
import itertools

import torch
from torch import Tensor

from ag3d.model.body.rotation import batched_matvec


def forward_kinematics(rotations: Tensor, rest_joints: Tensor, parents: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Local rotations [B,J,3,3] and rest joints [B,J,3] to the transforms [B,J,3,4] of what moves with each joint, and the
    posed joints [B,J,3]. The root stays where it rests."""
    above, levels, order = _levels(parents, rotations.device)
    bones = torch.cat([rest_joints[:, :1], rest_joints[:, 1:] - rest_joints.index_select(1, above)], dim=1)[..., None]
    turned, placed = [rotations[:, :1]], [bones[:, :1]]
    for joints, own in levels:  # all joints of a depth at once: a few steps instead of 23
        upper = turned[-1].index_select(1, own)
        placed.append(placed[-1].index_select(1, own) + upper @ bones.index_select(1, joints))
        turned.append(upper @ rotations.index_select(1, joints))
    rotation, position = (torch.cat(parts, dim=1).index_select(1, order) for parts in (turned, placed))
    return torch.cat([rotation, position - rotation @ rest_joints[..., None]], dim=-1), position.squeeze(-1)


@functools.cache
def _levels(parents: tuple[int, ...], device: torch.device) -> tuple[Tensor, list[tuple[Tensor, Tensor]], Tensor]:
    """Joints' parents (the root's left out); of each level below the root the joints, and where in the level above their
    parents are; and where each joint is in the levels one after another."""
    depth = [0] * len(parents)
    for joint, parent in enumerate(parents):
        depth[joint] = 0 if parent < 0 else depth[parent] + 1
    levels = [[joint for joint, d in enumerate(depth) if d == level] for level in range(max(depth) + 1)]
    sequence = [joint for level in levels for joint in level]

    def numbers(values: list[int]) -> Tensor:
        with torch.inference_mode(False):  # they are kept, and may meet gradients later
            return torch.tensor(values, device=device)

    steps = [
        (numbers(level), numbers([upper.index(parents[joint]) for joint in level]))
        for upper, level in itertools.pairwise(levels)
    ]
    return numbers(list(parents[1:])), steps, numbers([sequence.index(joint) for joint in range(len(parents))])


def blend_skinning_weights(weights: Tensor, transforms: Tensor) -> Tensor:
    """Skinning weights [V,J] and joints' transforms [B,J,3 or 4,4] to the points' own transforms [B,V,3,4]: on a GPU in one
    matrix product."""
    if not weights.is_cuda:
        return torch.matmul(weights, transforms[:, :, :3].flatten(2)).unflatten(2, (3, 4))
    flat = transforms[:, :, :3].transpose(0, 1).reshape(transforms.shape[1], -1)
    return (weights @ flat).view(len(weights), -1, 3, 4).transpose(0, 1)


def apply_transforms(transforms: Tensor, points: Tensor) -> Tensor:
    """Points [V,3] or [B,V,3] by their own transforms [V,3,4] or [B,V,3,4]."""
    shape = (*transforms.shape[:-2], 3)
    turned = batched_matvec(transforms[..., :3].reshape(-1, 3, 3), points.expand(shape).reshape(-1, 3))
    return turned.view(shape) + transforms[..., 3]
