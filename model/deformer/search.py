"""From posed points back to canonical ones: Broyden's root finding on a voxel grid of blended transforms (fast-SNARF)."""

from __future__ import annotations

import torch

from ag3d.model.body.rotation import times
from ag3d.model.deformer.grid import Box, corners, lookup

CONVERGED = 2e-4
DIVERGED = 1.0
ITERATIONS = {False: 10, True: 15}  # by `guarded`; the reference gives up after 10
_CHUNK = 4_000_000  # solves at once


class Search:
    """Finds x with T(x) x = target, T being the blended transform.

    tables: [B,D*H*W,12], the 3×4 transforms by image and voxel. Everything is without gradient. `guarded`: the update
    is kept from dividing by zero, and outside the grid its border continues (otherwise zeros).
    """

    def __init__(self, tables: torch.Tensor, shape: tuple[int, int, int], box: Box, guarded: bool) -> None:
        self.table = tables.reshape(-1, 12)
        self.voxels = tables.shape[1]
        self.shape, self.box, self.guarded = shape, box, guarded

    def blended(
        self, points: torch.Tensor, image: torch.Tensor, border: bool | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The transform at canonical points [n,3]: linear part [n,3,3] and translation [n,3].

        `border`: whether the grid's border continues outside; else as the search has it."""
        outside = self.guarded if border is None else border
        index, weight = corners(self.box.normalize(points), self.shape, outside)
        matrix = lookup(self.table, index + (image * self.voxels)[:, None], weight).view(-1, 3, 4)
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
        linear, shift = self.blended(x, image)
        residual = times(linear, x) + shift - target
        if inverse is None:
            inverse = linear.transpose(1, 2)
        for _ in range(ITERATIONS[self.guarded]):
            step = -times(inverse, residual)
            x = x + step
            linear, shift = self.blended(x, image)
            following = times(linear, x) + shift - target
            error = following.square().sum(1)
            done = error < CONVERGED**2
            accepted = done & (self.box.normalize(x).abs() <= 1).all(1)
            roots[active[accepted]] = x[accepted]
            valid[active[accepted]] = True
            go_on = torch.nonzero(~done & ~(error > DIVERGED)).squeeze(1)
            if len(go_on) == 0:
                break
            active, x, target, image = active[go_on], x[go_on], target[go_on], image[go_on]
            inverse, step, following = inverse[go_on], step[go_on], following[go_on]
            change = following - residual[go_on]
            left = times(inverse.transpose(1, 2), step)
            denominator = (left * change).sum(1, keepdim=True)
            if self.guarded:
                denominator = torch.where(denominator.abs() < 1e-9, torch.full_like(denominator, 1e-9), denominator)
            inverse = inverse + (step - times(inverse, change))[:, :, None] * (left / denominator)[:, None, :]
            residual = following
        return roots, valid
