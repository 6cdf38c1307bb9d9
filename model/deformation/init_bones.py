"""Correspondence initialisation as in the reference: every bone is a start."""

from __future__ import annotations

import torch
from torch import Tensor

from ag3d.model.deformation import broyden
from ag3d.model.deformation.broyden import Roots
from ag3d.model.deformation.knn import near_body
from ag3d.model.ops.blended_transforms import BlendedTransforms

BONES = (0, 1, 2, 4, 5, 12, 15, 16, 17, 18, 19)  # root, hips, knees, neck, head, shoulders, elbows
REFERENCE_STRIDE = 10  # its gate looks at every tenth vertex


def find_from_bones(points: Tensor, vertices: Tensor, transforms: BlendedTransforms, distance: float) -> Roots:
    """Every bone of BONES is a start; the transpose stands for its inverse; near copies stay.

    points: [B,N,3]; vertices: [B,V,3]; `distance`: what counts as near.
    """
    count, starts = points.shape[1], len(BONES)
    near = [
        near_body(cloud, surface, distance)[0] + index * count
        for index, (cloud, surface) in enumerate(zip(points, vertices[:, ::REFERENCE_STRIDE]))
    ]
    flat = torch.cat(near)
    image = flat // count
    target = points.reshape(-1, 3)[flat]
    bones = transforms.bones[:, list(BONES)][image]  # [n,I,4,4]
    guess = torch.einsum("nirc,nir->nic", bones[..., :3, :3], target[:, None] - bones[..., :3, 3])
    targets, images = target.repeat_interleave(starts, 0), image.repeat_interleave(starts)
    roots, valid = broyden.solve(transforms, targets, images, guess.reshape(-1, 3), guarded=False)
    roots = roots.view(-1, starts, 3)
    which, start = torch.nonzero(distinct(roots, valid.view(-1, starts)), as_tuple=True)
    return Roots(flat[which], roots[which, start])


def distinct(roots: Tensor, valid: Tensor, radius: float = 1e-4) -> Tensor:
    """Of valid roots [n,I,3] closer than `radius`, the last survives: [n,I]."""
    keep = valid.clone()
    for start in range(roots.shape[1] - 1):
        later = (roots[:, start + 1 :] - roots[:, start, None]).square().sum(-1) < radius**2
        keep[:, start] &= ~(later & valid[:, start + 1 :]).any(1)
    return keep
