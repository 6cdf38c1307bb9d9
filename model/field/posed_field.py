"""The canonical field, seen through posed bodies."""

from __future__ import annotations

import torch
from torch import Tensor

from ag3d.model.body.rotation import batched_matvec
from ag3d.model.deformation.deformer import Posed, depth_bounds
from ag3d.model.field.canonical_field import CanonicalField, FieldValues, Samples
from ag3d.model.ops.residual_field import can_fuse

EMPTY = -100.0  # the signed value of samples without a root


class PosedField:
    """The people of a batch, posed. A posed point's canonical root is the one with the largest signed value."""

    def __init__(self, field: CanonicalField, posed: Posed) -> None:
        self.field, self.posed, self.settings = field, posed, field.settings
        self.bounded = self.settings.departures.body_bounds

    def query(self, points: Tensor, image: Tensor) -> FieldValues:
        """At canonical roots [n,3]."""
        return self.field.query(points, image)

    @torch.no_grad()
    def search(self, points: Tensor) -> Samples:
        """The posed points among [B,N,3] that have a root, in any order."""
        cuda = self.posed.around is not None and can_fuse(self.field.decoder.features)
        return (self.search_cuda if cuda else self.search_torch)(points)

    def search_cuda(self, points: Tensor) -> Samples:
        roots, sdf = self.best_roots(points)
        flat = torch.nonzero(sdf > EMPTY).squeeze(1)
        return Samples(flat, roots[flat], sdf[flat])

    def best_roots(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Roots [B·N,3] and signed values [B·N] of all points, EMPTY where there is none: the processor waits for no count."""
        return self.posed.best_roots(points, self.field.tensors, EMPTY)

    def search_torch(self, points: Tensor) -> Samples:
        flat, roots = self.posed.find_correspondences(points)
        sdf = self.field.sdf(roots, flat // points.shape[1])
        best = torch.full((points.shape[0] * points.shape[1],), EMPTY, device=points.device)
        best.scatter_reduce_(0, flat, sdf, "amax")
        # Of equal values the first counts.
        order = torch.arange(len(flat), dtype=torch.int32, device=flat.device)
        rank = torch.where((sdf == best[flat]) & (sdf > EMPTY), order, len(flat))
        first = torch.full((len(best),), len(flat), dtype=torch.int32, device=flat.device)
        first.scatter_reduce_(0, flat, rank, "amin")
        winner = torch.nonzero(first[flat] == order).squeeze(1)
        return Samples(flat[winner], roots[winner], sdf[winner])

    def depth_range(self, cam2world: Tensor) -> tuple[Tensor, Tensor]:
        """Between which depths [B], [B] the rays are sampled: along the camera's axis around the bodies, or as the field has it."""
        if not self.bounded:
            return self.field.depth_range(cam2world)
        return depth_bounds(self.posed.surface, cam2world, self.settings.cull_distance / 2)

    def normals(self, gradient: Tensor, points: Tensor, image: Tensor, cam2world: Tensor) -> Tensor:
        """As CanonicalField.normals, of canonical gradients [n,3] at roots [n,3]."""
        gradient = self.posed.carry_gradient(gradient, points, image)
        if self.bounded:  # cameras may look anywhere
            gradient = batched_matvec(cam2world[:, :3, :3].transpose(1, 2)[image], gradient)
        return self.field.normals(gradient, points, image, cam2world)
