"""The deformer: which samples lie near a posed body, and where they come from in canonical space."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.body.body import Body
from ag3d.model.body.lbs import apply_transforms, blend_skinning_weights
from ag3d.model.body.rotation import batched_matvec
from ag3d.model.cuda_graphs import GraphedCallable
from ag3d.model.deformation import canonical_body
from ag3d.model.deformation.broyden import Roots
from ag3d.model.deformation.init_bones import find_from_bones
from ag3d.model.deformation.init_nearest import find_by_nearest_vertex
from ag3d.model.deformation.init_surface import StartVertices, find_from_surface, parts_of
from ag3d.model.ops.blended_transforms import BlendedTransforms, gradient_transforms, transform_table
from ag3d.model.ops.constants import BODY_PARTS
from ag3d.model.ops.correspondence_search import VertexGrid, best_roots, near_body, vertex_grid
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.ops.residual_field import FieldTensors
from ag3d.model.ops.voxel_grid import BodySdf, Box, Grid, corners, lookup

START_VERTICES = 2000  # how many of the body's vertices the search starts from, about


@dataclass
class Posed:
    """A batch of posed bodies, prepared once and used by every pass."""

    deformer: Deformer
    transforms: BlendedTransforms  # canonical to posed
    # [B,S,3], what samples must be near: the posed body's vertices; with surface starts the canonical body's, carried.
    # The field is carried so, while a posed body's own vertices also follow its `betas`: hands and feet of the tall and
    # the small are up to 0.2 apart.
    surface: torch.Tensor
    blended: torch.Tensor | None = None  # [B,S,3,4], transforms of the surface's points, where they are carried
    around: VertexGrid | None = None  # for the search in kernels, where they compute

    @property
    def bones(self) -> torch.Tensor:
        """[B,24,4,4], canonical to posed."""
        return self.transforms.bones

    @torch.no_grad()
    def find_correspondences(self, points: torch.Tensor) -> Roots:
        """Canonical roots of the posed points [B,N,3] that lie near their bodies."""
        settings, box = self.deformer.settings, self.deformer.box
        if settings.skinning == "nearest":
            blended = blend_skinning_weights(self.deformer.body.weights, self.bones)
            return find_by_nearest_vertex(points, self.surface, blended, box, settings.cull_distance)
        if not settings.departures.surface_starts:
            return find_from_bones(points, self.surface, self.transforms, settings.cull_distance)
        return find_from_surface(points, self.starts, self.transforms)

    @functools.cached_property
    def starts(self) -> StartVertices:
        assert self.blended is not None
        return StartVertices(
            self.surface, self.deformer.part_begins, self.blended, self.deformer.settings.cull_distance
        )

    def best_roots(self, points: torch.Tensor, field: FieldTensors, empty: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Best root [B·N,3] and signed value [B·N] of all points [B,N,3], `empty` where there is no root, by the kernels: the
        processor does not wait for the number of points near the bodies."""
        assert self.around is not None
        near = near_body(points, self.around, self.deformer.settings.cull_distance)
        return best_roots(points, near, self.around, self.transforms, field, empty)

    def carry_gradient(self, gradient: torch.Tensor, points: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Gradients [n,3] at canonical points [n,3] to the posed space of the bodies `image` [n]."""
        covariant = self.deformer.settings.departures.covariant_normals
        carriers = gradient_transforms(points, image, self.transforms, self.deformer.body_sdf, covariant)
        return batched_matvec(carriers, gradient)


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

    def __init__(self, settings: Network, body: Body, signed_distance: torch.Tensor | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.body = body
        canonical = canonical_body.build(body, signed_distance)
        distance = canonical.signed_distance
        if not settings.departures.solid_body:
            distance = canonical_body.band(distance)
        self.distance_shape: tuple[int, int, int] = (distance.shape[0], distance.shape[1], distance.shape[2])
        _, depth, height, width = canonical.weights.shape
        self.weights_shape: tuple[int, int, int] = (depth, height, width)
        chosen = torch.arange(0, len(canonical.vertices), max(1, len(canonical.vertices) // START_VERTICES))
        parts = parts_of(body.weights.cpu(), canonical.vertices.cpu(), body.faces.cpu())[chosen]
        chosen, parts = chosen[parts.argsort(stable=True)], parts.sort().values
        for name, value in {
            "vertices": canonical.vertices,
            "center": canonical.box.center,
            "half_side": canonical.box.half,
            "inverse": canonical.inverse,
            "weights": canonical.weights.flatten(1).t().contiguous(),  # [voxels,24]
            "distance": distance.reshape(-1, 1).contiguous(),
            "start_vertices": chosen,
            "start_weights": body.weights[chosen].cpu(),
            "part_begins": torch.searchsorted(parts, torch.arange(BODY_PARTS + 1)).int(),
        }.items():
            self.register_buffer(name, value, persistent=False)
        self.box = canonical.box
        self.graphed_pose = GraphedCallable(self._pose)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Deformer:
        super()._apply(fn, recurse)
        self.body = self.body.to(self.vertices.device)
        self.box = Box(self.center, self.half_side)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Deformer:
        return self  # constant: a network's copies share it

    @property
    def body_sdf(self) -> BodySdf:
        """The canonical body's signed distance."""
        return BodySdf(Grid(self.distance, self.distance_shape), self.box)

    def skinning(self, points: torch.Tensor) -> torch.Tensor:
        """Skinning weights [n,24] at canonical points [n,3]."""
        index, weight = corners(self.box.normalize(points), self.weights_shape, border=True)
        return lookup(self.weights, index, weight)

    @torch.no_grad()
    def pose(self, label: torch.Tensor) -> Posed:
        """Prepare the bodies of labels [B,111]."""
        bones, surface, *carried = self.graphed_pose(label)
        table = carried.pop(0) if label.is_cuda else None
        transforms = BlendedTransforms(Grid(self.weights, self.weights_shape), bones, self.box, table)
        blended, *around = carried or (None,)
        return Posed(self, transforms, surface, blended, VertexGrid(*around) if around else None)

    def _pose(self, label: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Bones, surface, on a GPU the table of transforms, then what else Posed has, one after the other."""
        departures = self.settings.departures
        unscaled = not departures.scaled_transforms
        if self.settings.skinning != "search" or not departures.surface_starts:
            output = self.body.from_label(label, reference_scale=unscaled)
            bones = output.transforms @ self.inverse
            return bones, output.vertices, *self._table(bones)
        bones = self.body.transforms_of(label, reference_scale=unscaled) @ self.inverse
        blended = blend_skinning_weights(self.start_weights, bones)
        surface = apply_transforms(blended, self.vertices[self.start_vertices])
        cuda = use_cuda_kernels(surface)
        around = vertex_grid(surface, blended, self.part_begins, self.settings.cull_distance) if cuda else ()
        return bones, surface, *self._table(bones), blended, *around

    def _table(self, bones: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (transform_table(self.weights, bones),) if bones.is_cuda else ()


def depth_bounds(vertices: torch.Tensor, cam2world: torch.Tensor, margin: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Nearest and farthest depth along the camera's axis of bodies [B,V,3], widened by `margin`: [B], [B]."""
    depth = torch.einsum("bvc,bc->bv", vertices - cam2world[:, None, :3, 3], cam2world[:, :3, 2])
    return depth.amin(1) - margin, depth.amax(1) + margin
