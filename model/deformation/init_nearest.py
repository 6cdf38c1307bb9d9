"""Correspondences without a search: each point goes back by the transform of its nearest vertex (an ablation)."""

from __future__ import annotations

import torch
from torch import Tensor

from ag3d.model.body.rotation import inverse_3x3
from ag3d.model.deformation.broyden import Roots
from ag3d.model.deformation.knn import near_body
from ag3d.model.ops.voxel_grid import Box


def find_by_nearest_vertex(points: Tensor, vertices: Tensor, blended: Tensor, box: Box, distance: float) -> Roots:
    """As many methods before AG3D did.

    points: [B,N,3]; vertices: [B,V,3]; blended: [B,V,3,4]. One root a point; neighbours part where their vertices do.
    """
    count = points.shape[1]
    backward = inverse_3x3(blended[..., :3])
    flat, roots = [], []
    for index in range(len(points)):
        near, vertex, _ = near_body(points[index], vertices[index], distance)
        away = points[index, near] - blended[index, vertex, :, 3]
        flat.append(near + index * count)
        roots.append((backward[index, vertex] * away[:, None, :]).sum(2))
    all_flat, all_roots = torch.cat(flat), torch.cat(roots)
    inside = (box.normalize(all_roots).abs() <= 1).all(1)
    return Roots(all_flat[inside], all_roots[inside])
