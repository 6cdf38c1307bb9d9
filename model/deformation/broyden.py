"""From posed points back to canonical ones: Broyden's root finding in a field of blended transforms (fast-SNARF)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ag3d.model.body.rotation import batched_matvec
from ag3d.model.ops.blended_transforms import BlendedTransforms

CONVERGED = 2e-4
DIVERGED = 1.0
ITERATIONS = {False: 10, True: 15}  # by `guarded`; the reference gives up after 10
_CHUNK = 4_000_000  # solves at once


class Roots(NamedTuple):
    """Canonical roots of posed points; a point may have several or none."""

    flat: Tensor  # [m], the posed point's index among all [B·N], ascending
    roots: Tensor  # [m,3]


@torch.no_grad()
def solve(
    transforms: BlendedTransforms,
    targets: Tensor,  # [n,3], posed points
    image: Tensor,  # [n], whose body
    guess: Tensor,  # [n,3], where to start
    inverse: Tensor | None = None,  # [n,3,3], an estimate of the transform's inverse there
    guarded: bool = True,
) -> tuple[Tensor, Tensor]:
    """x with T(x) x = target: roots [n,3] (zero where none was found) and whether they are valid [n].

    Without an `inverse` the transpose of the transform's linear part stands for it. `guarded`: the update is kept from
    dividing by zero, and outside the grid its border continues (otherwise zeros).
    """
    parts = [slice(start, start + _CHUNK) for start in range(0, max(1, len(targets)), _CHUNK)]
    solved = [
        _solve(transforms, targets[p], image[p], guess[p], None if inverse is None else inverse[p], guarded)
        for p in parts
    ]
    return torch.cat([roots for roots, _ in solved]), torch.cat([valid for _, valid in solved])


def _solve(
    transforms: BlendedTransforms, target: Tensor, image: Tensor, x: Tensor, inverse: Tensor | None, guarded: bool
) -> tuple[Tensor, Tensor]:
    normalize = transforms.box.normalize
    roots = torch.zeros_like(x)
    valid = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    active = torch.arange(len(x), device=x.device)
    linear, shift = transforms.at_normalized(normalize(x), image, guarded)
    residual = batched_matvec(linear, x) + shift - target
    if inverse is None:
        inverse = linear.transpose(1, 2)
    for _ in range(ITERATIONS[guarded]):
        step = -batched_matvec(inverse, residual)
        x = x + step
        unit = normalize(x)
        linear, shift = transforms.at_normalized(unit, image, guarded)
        following = batched_matvec(linear, x) + shift - target
        error = following.square().sum(1)
        done = error < CONVERGED**2
        accepted = torch.nonzero(done & (unit.abs().amax(1) <= 1)).squeeze(1)
        index = active.index_select(0, accepted)
        roots.index_copy_(0, index, x.index_select(0, accepted))
        valid[index] = True
        go_on = torch.nonzero(~done & ~(error > DIVERGED)).squeeze(1)
        if len(go_on) == 0:
            break
        # Whole rows at once: indexing with brackets takes three times as long on a processor.
        kept = (active, x, target, image, inverse, step, following, residual)
        active, x, target, image, inverse, step, following, residual = (t.index_select(0, go_on) for t in kept)
        change = following - residual
        left = batched_matvec(inverse.transpose(1, 2), step)
        denominator = (left * change).sum(1, keepdim=True)
        if guarded:
            denominator = torch.where(denominator.abs() < 1e-9, torch.full_like(denominator, 1e-9), denominator)
        inverse = inverse + (step - batched_matvec(inverse, change))[:, :, None] * (left / denominator)[:, None, :]
        residual = following
    return roots, valid
