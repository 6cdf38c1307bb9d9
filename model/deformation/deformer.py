"""The deformer: which samples lie near a posed body, and where they come from in canonical space."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.body.body import Body
from ag3d.model.body.lbs import apply_transforms, blend_skinning_weights
from ag3d.model.body.rotation import batched_matvec
from ag3d.model.cuda_graphs import Recorded
from ag3d.model.deformation.broyden import Search, tables
from ag3d.model.deformation.correspondence_init import (
    Candidates,
    Starts,
    from_bones,
    from_nearest,
    from_surface,
    parts_of,
)
from ag3d.model.field import canonical_body
from ag3d.model.field.voxel_grid import Box, corners, lookup, value_and_gradient
from ag3d.model.ops.constants import BODY_PARTS
from ag3d.model.ops.correspondence_search import Nearby, best_roots, box_numbers, near_parts, nearby, surroundings
from ag3d.model.ops.dispatch import use_cuda_kernels

START_VERTICES = 2000  # how many of the body's vertices the search starts from, about


@dataclass
class Posed:
    """A batch of posed bodies, prepared once and used by every pass."""

    transforms: torch.Tensor  # [B,24,4,4], canonical to posed
    search: Search
    # [B,S,3], what samples must be near: the posed body's vertices; with surface starts the canonical body's, carried.
    # The field is carried so, while a posed body's own vertices also follow its `betas`: hands and feet of the tall and
    # the small are up to 0.2 apart.
    surface: torch.Tensor
    blended: torch.Tensor | None = None  # [B,S,3,4], transforms of the surface's points, where they are carried
    around: Nearby | None = None  # for the fast search
    starts: Starts | None = None  # for the plain one, made when it is first wanted


class Deformer(nn.Module):
    """Holds the canonical body's grids (none of them is part of a checkpoint)."""

    vertices: torch.Tensor  # [V,3]
    center: torch.Tensor  # [3]
    half_side: torch.Tensor  # []
    inverse: torch.Tensor  # [24,4,4]
    weights: torch.Tensor  # [voxels,24]
    distance: torch.Tensor  # [voxels,1]
    start_vertices: torch.Tensor  # [S]
    start_weights: torch.Tensor  # [S,24]
    part_begins: torch.Tensor  # [BODY_PARTS+1] int32
    box_numbers: torch.Tensor  # [6]

    def __init__(self, settings: Network, body: Body, signed_distance: torch.Tensor | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.body = body
        built = canonical_body.build(body, signed_distance)
        distance = (
            built.signed_distance if settings.departures.solid_body else canonical_body.band(built.signed_distance)
        )
        self.distance_shape: tuple[int, int, int] = (distance.shape[0], distance.shape[1], distance.shape[2])
        self.weights_shape: tuple[int, int, int] = (
            built.weights.shape[1],
            built.weights.shape[2],
            built.weights.shape[3],
        )
        chosen = torch.arange(0, len(built.vertices), max(1, len(built.vertices) // START_VERTICES))
        parts = parts_of(body.weights.cpu(), built.vertices.cpu(), body.faces.cpu())[chosen]
        chosen, parts = chosen[parts.argsort(stable=True)], parts.sort().values
        for name, value in {
            "vertices": built.vertices,
            "center": built.box.center,
            "half_side": built.box.half,
            "inverse": built.inverse,
            "weights": built.weights.flatten(1).t().contiguous(),  # [voxels,24]
            "distance": distance.reshape(-1, 1).contiguous(),
            "start_vertices": chosen,
            "start_weights": body.weights[chosen].cpu(),
            "part_begins": torch.searchsorted(parts, torch.arange(BODY_PARTS + 1)).int(),
            "box_numbers": box_numbers(built.box),
        }.items():
            self.register_buffer(name, value, persistent=False)

        self.recorded = Recorded(self._pose)

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        self.body = self.body.to(self.vertices.device)
        return self

    def __deepcopy__(self, memo: dict) -> Deformer:
        return self  # constant: a network's copies share it

    @property
    def box(self) -> Box:
        return Box(self.center, self.half_side)

    @torch.no_grad()
    def pose(self, label: torch.Tensor) -> Posed:
        """Prepare the bodies of labels [B,111]."""
        transforms, surface, *carried = self.recorded(label)
        table = carried.pop(0) if label.is_cuda else None
        guarded = self.settings.departures.surface_starts
        search = Search(self.weights, transforms, self.weights_shape, self.box, guarded, table)
        blended, *around = carried or (None,)
        return Posed(transforms, search, surface, blended, Nearby(*around) if around else None)

    def _pose(self, label: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The parts of Posed, one after the other; on a GPU with the tables of the search."""
        departures = self.settings.departures
        unscaled = not departures.scaled_transforms
        if self.settings.skinning != "search" or not departures.surface_starts:
            output = self.body.from_label(label, reference_scale=unscaled)
            transforms = output.transforms @ self.inverse
            return transforms, output.vertices, *self._tables(transforms)
        transforms = self.body.transforms_of(label, reference_scale=unscaled) @ self.inverse
        blended = blend_skinning_weights(self.start_weights, transforms)
        surface = apply_transforms(blended, self.vertices[self.start_vertices])
        around = (
            nearby(surface, blended, self.part_begins, self.settings.cull_distance) if use_cuda_kernels(surface) else ()
        )
        return transforms, surface, *self._tables(transforms), blended, *around

    def _tables(self, transforms: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (tables(self.weights, transforms),) if transforms.is_cuda else ()

    @torch.no_grad()
    def candidates(self, points: torch.Tensor, posed: Posed) -> Candidates:
        """Canonical roots of the posed points [B,N,3] that lie near their bodies."""
        distance = self.settings.cull_distance
        if self.settings.skinning == "nearest":
            every = blend_skinning_weights(self.body.weights, posed.transforms)
            return from_nearest(points, posed.surface, every, self.box, distance)
        if not self.settings.departures.surface_starts:
            return from_bones(points, posed.surface, posed.transforms, posed.search, distance)
        if posed.starts is None:
            assert posed.blended is not None
            posed.starts = Starts(posed.surface, self.part_begins, posed.blended, distance)
        return from_surface(points, posed.starts, posed.search)

    def search_fast(
        self,
        points: torch.Tensor,  # [B,N,3]
        posed: Posed,
        rows: torch.Tensor,  # of the planes
        side: int,
        half: float,  # of the planes' side in world units
        decoder: tuple[torch.Tensor, ...],  # w1, b1, w2, b2
        empty: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Best root [B·N,3] and signed value [B·N] of all points, `empty` where there is no root, by the kernels: the processor
        does not wait for the number of points near the bodies."""
        assert posed.around is not None
        near = near_parts(points, posed.around, self.settings.cull_distance)
        grids = posed.search.table, self.weights_shape, self.box_numbers, self.distance, self.distance_shape
        return best_roots(points, near, posed.around, *grids, rows, side, half, decoder, empty)

    def skinning(self, points: torch.Tensor) -> torch.Tensor:
        """Skinning weights [n,24] at canonical points [n,3]."""
        index, weight = corners(self.box.normalize(points), self.weights_shape, border=True)
        return lookup(self.weights, index, weight)

    @torch.no_grad()
    def body_distance(self, points: torch.Tensor, gradient: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """The canonical body's signed distance [n] (positive inside) and its gradient [n,3], or [n,0], at canonical points [n,3]."""
        if use_cuda_kernels(points):
            at = points.contiguous()
            return surroundings(at, points.new_empty(0), self.distance, self.distance_shape, self.box_numbers)[:2]
        unit, scale = self.box.normalize(points), self.box.scale
        return value_and_gradient(self.distance, unit, self.distance_shape, scale, gradient)

    def carry_gradient(
        self, gradient: torch.Tensor, points: torch.Tensor, posed: Posed, image: torch.Tensor
    ) -> torch.Tensor:
        """Gradients [n,3] at canonical points [n,3] to the posed space of the bodies `image` [n]."""
        if use_cuda_kernels(points):
            grids = (self.distance, self.distance_shape, self.box_numbers, posed.search.table, self.weights_shape)
            _, _, carry = surroundings(points, image, *grids, self.settings.departures.covariant_normals)
            assert carry is not None
            return (carry * gradient[:, None]).sum(2)
        linear, _ = posed.search.blended(points, image, border=True)
        return batched_matvec(cofactor(linear) if self.settings.departures.covariant_normals else linear, gradient)


def cofactor(matrix: torch.Tensor) -> torch.Tensor:
    """[n,3,3] to det(M) M⁻ᵀ, which carries normals and never divides."""
    a, b, c = matrix.unbind(-2)
    return torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=-2)


def depth_bounds(vertices: torch.Tensor, cam2world: torch.Tensor, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest and farthest depth along the camera's axis of bodies [B,V,3], widened by `margin`: [B], [B]."""
    depth = torch.einsum("bvc,bc->bv", vertices - cam2world[:, None, :3, 3], cam2world[:, :3, 2])
    return depth.amin(1) - margin, depth.amax(1) + margin
