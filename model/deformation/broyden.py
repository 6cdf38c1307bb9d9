"""From posed points back to canonical ones: Broyden's root finding on a voxel grid of blended transforms (fast-SNARF)."""

from __future__ import annotations

import functools

import torch

from ag3d.model.body.lbs import blend_skinning_weights
from ag3d.model.body.rotation import batched_matvec
from ag3d.model.field.voxel_grid import Box, corners, lookup

CONVERGED = 2e-4
DIVERGED = 1.0
ITERATIONS = {False: 10, True: 15}  # by `guarded`; the reference gives up after 10
_CHUNK = 4_000_000  # solves at once


class Search:
    """Finds x with T(x) x = target, T being the blended transform.

    weights: [D*H*W,24], of the voxels; transforms: [B,24,4,4]; table: [B*D*H*W,12], the 3×4 transforms by image and
    voxel. A processor wants no table: filling it takes longer than what it spares. Everything is without gradient.
    `guarded`: the update is kept from dividing by zero, and outside the grid its border continues (otherwise zeros).
    """

    def __init__(
        self,
        weights: torch.Tensor,
        transforms: torch.Tensor,
        shape: tuple[int, int, int],
        box: Box,
        guarded: bool,
        table: torch.Tensor | None = None,
    ) -> None:
        self.weights, self.transforms, self.given = weights, transforms, table
        self.shape, self.box, self.guarded = shape, box, guarded

    @functools.cached_property
    def bones(self) -> torch.Tensor:
        """[B*24,12], the bones' 3×4 transforms, for a search without a table."""
        return self.transforms[:, :, :3].reshape(-1, 12)

    @property
    def table(self) -> torch.Tensor:
        return tables(self.weights, self.transforms) if self.given is None else self.given

    def blended(
        self, points: torch.Tensor, image: torch.Tensor, border: bool | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The transform at canonical points [n,3]: linear part [n,3,3] and translation [n,3].

        `border`: whether the grid's border continues outside; else as the search has it."""
        return self._blended(self.box.normalize(points), image, self.guarded if border is None else border)

    def _blended(self, unit: torch.Tensor, image: torch.Tensor, border: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """The same at normalised points."""
        index, weight = corners(unit, self.shape, border)
        if self.given is None:
            count = self.weights.shape[1]
            bones = (image.int() * count)[:, None] + torch.arange(count, dtype=torch.int32, device=image.device)
            matrix = lookup(self.bones, bones, lookup(self.weights, index, weight))
        else:
            matrix = lookup(self.given, index + (image * len(self.weights))[:, None], weight)
        matrix = matrix.view(-1, 3, 4)
        return matrix[:, :, :3], matrix[:, :, 3]

    @torch.no_grad()
    def solve(
        self, targets: torch.Tensor, image: torch.Tensor, guess: torch.Tensor, inverse: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Roots [n,3] (zero where none was found) and whether they are valid [n].

        targets: [n,3] posed points; image: [n], whose body; guess: [n,3], where to start; inverse: [n,3,3], an estimate
        of the transform's inverse there (default: the transpose of its linear part).
        """
        parts = [slice(start, start + _CHUNK) for start in range(0, max(1, len(targets)), _CHUNK)]
        solved = [self._solve(targets[p], image[p], guess[p], None if inverse is None else inverse[p]) for p in parts]
        return torch.cat([roots for roots, _ in solved]), torch.cat([valid for _, valid in solved])

    def _solve(
        self, target: torch.Tensor, image: torch.Tensor, x: torch.Tensor, inverse: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        roots = torch.zeros_like(x)
        valid = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        active = torch.arange(len(x), device=x.device)
        unit = self.box.normalize(x)
        linear, shift = self._blended(unit, image, self.guarded)
        residual = batched_matvec(linear, x) + shift - target
        if inverse is None:
            inverse = linear.transpose(1, 2)
        for _ in range(ITERATIONS[self.guarded]):
            step = -batched_matvec(inverse, residual)
            x = x + step
            unit = self.box.normalize(x)
            linear, shift = self._blended(unit, image, self.guarded)
            following = batched_matvec(linear, x) + shift - target
            error = following.square().sum(1)
            done = error < CONVERGED**2
            accepted = torch.nonzero(done & (unit.abs().amax(1) <= 1)).squeeze(1)
            place = active.index_select(0, accepted)
            roots.index_copy_(0, place, x.index_select(0, accepted))
            valid[place] = True
            go_on = torch.nonzero(~done & ~(error > DIVERGED)).squeeze(1)
            if len(go_on) == 0:
                break
            # Whole rows at once: indexing with brackets takes three times as long on a processor.
            kept = (active, x, target, image, inverse, step, following, residual)
            active, x, target, image, inverse, step, following, residual = (t.index_select(0, go_on) for t in kept)
            change = following - residual
            left = batched_matvec(inverse.transpose(1, 2), step)
            denominator = (left * change).sum(1, keepdim=True)
            if self.guarded:
                denominator = torch.where(denominator.abs() < 1e-9, torch.full_like(denominator, 1e-9), denominator)
            inverse = inverse + (step - batched_matvec(inverse, change))[:, :, None] * (left / denominator)[:, None, :]
            residual = following
        return roots, valid


def tables(weights: torch.Tensor, transforms: torch.Tensor) -> torch.Tensor:
    """Skinning weights [V,24] of voxels and transforms [B,24,4,4] to the table of a search [B·V,12]."""
    return blend_skinning_weights(weights, transforms).reshape(-1, 12)
