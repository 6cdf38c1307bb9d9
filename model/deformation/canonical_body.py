"""What the deformer needs of the canonical body: its box, its skinning weights and its signed distance on voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from ag3d.model.body.body import Body
from ag3d.model.deformation.signed_distance import cached_signed_distance
from ag3d.model.ops.voxel_grid import Box

SHIFT = (0.0, 0.3, 0.0)  # the canonical body stands 0.3 above its model's origin
WEIGHTS_RESOLUTION = 64
DISTANCE_RESOLUTION = 128
NEIGHBOURS = 10


@dataclass
class Canonical:
    """Of the mean shape, in the zero pose. Betas act on posed bodies only through the joints."""

    vertices: torch.Tensor  # [V,3]
    box: Box
    inverse: torch.Tensor  # [24,4,4], from canonical to the model's zero pose
    weights: torch.Tensor  # [24,16,64,64]
    signed_distance: torch.Tensor  # [32,128,128], positive inside


def build(body: Body, signed_distance: torch.Tensor | None = None) -> Canonical:
    """The canonical data of `body` on the CPU. A ready grid of signed distances [32,128,128] may be given."""
    body = body.to("cpu")
    out = body(torch.zeros(1, 10), torch.zeros(1, 69), torch.zeros(1, 3), torch.tensor([SHIFT]))
    vertices = out.vertices[0]
    box = Box.around(vertices)
    weights = voxel_weights(box.points(WEIGHTS_RESOLUTION), vertices, body.weights)
    if signed_distance is None:
        signed_distance = cached_signed_distance(box.points(DISTANCE_RESOLUTION), vertices, body.faces, body.sha256)
    return Canonical(vertices, box, torch.linalg.inv(out.transforms[0]), weights, signed_distance)


def voxel_weights(points: torch.Tensor, vertices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Skinning weights at grid points [D,H,W,3]: the mean of the 10 nearest vertices by inverse distance. [24,D,H,W]."""
    distance, index = cKDTree(vertices.double().numpy()).query(
        points.reshape(-1, 3).double().numpy(), k=NEIGHBOURS, workers=-1
    )
    share = 1 / np.clip(distance, 3e-5, 0.1)
    share /= share.sum(axis=1, keepdims=True)
    mixed = torch.einsum("nk,nkj->jn", torch.from_numpy(share).float(), weights[torch.from_numpy(index)])
    return mixed.reshape(-1, *points.shape[:3])


def band(signed_distance: torch.Tensor) -> torch.Tensor:
    """The reference's grid: values beyond ±0.1 become -1e8, inside as well as outside."""
    return torch.where(signed_distance.abs() > 0.1, torch.full_like(signed_distance, -1e8), signed_distance)
