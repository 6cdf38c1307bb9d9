"""Samples along rays. The plain twins are rendering/rays.py's `resample` and rendering/marcher.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ag3d.model.ops import compiler

_LEAST = 1e-6  # samples that contribute less are not seen; 8 bits show 4e-3


def resample(
    coarse: torch.Tensor, density: torch.Tensor, samples: int, deterministic: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As `rays.resample`."""
    count, first = coarse.shape
    uniform = None if deterministic else torch.rand(count, samples, device=coarse.device)
    fine = torch.empty(count, samples, device=coarse.device)
    depths = torch.empty(count, first + samples, device=coarse.device)
    rank = torch.empty(count, first + samples, dtype=torch.int32, device=coarse.device)
    sizes = {"FIRST": first, "SECOND": samples}
    compiler.launch(
        "march", "resample", count, coarse.device, count, coarse, density, uniform, fine, depths, rank, **sizes
    )
    return fine, depths, rank


class Seen(NamedTuple):
    """What samples contribute to n rays."""

    opacity: torch.Tensor  # [n]
    depth: torch.Tensor  # [n], mean along the ray; huge where nothing is seen
    chosen: torch.Tensor  # [n·samples], the first `number` are samples that contribute: ray · samples + sample
    share: torch.Tensor  # [n·samples], by how much each of these does
    number: torch.Tensor  # [1] int32


def weigh(
    depths: torch.Tensor,
    rank: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    sharpness: torch.Tensor,
    empty: float,
) -> Seen:
    """Compositing as `marcher` does it: of signed values [n,S] and [n,samples] with the depths and places of `resample`."""
    count, device = len(depths), depths.device
    found = Seen(
        torch.empty(count, device=device),
        torch.empty(count, device=device),
        torch.empty(depths.numel(), dtype=torch.long, device=device),
        torch.empty(depths.numel(), device=device),
        torch.zeros(1, dtype=torch.int32, device=device),
    )
    compiler.launch(
        "march", "weigh", count, device,
        count, depths, rank, first, second, sharpness, float(empty), _LEAST, found.opacity, found.depth, found.number,
        found.chosen, found.share, FIRST=first.shape[1], SECOND=second.shape[1],
    )  # fmt: skip
    return found


def spread(
    gradient: torch.Tensor, values: torch.Tensor, ray: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """From what reaches sums along rays [rays,C] to what reaches the values [n,C] and their shares [n]."""
    gradient, values, ray, share = (each.contiguous() for each in (gradient, values, ray, share))
    by_value, by_share = torch.empty_like(values), torch.empty_like(share)
    compiler.launch(
        "composite", "spread", len(ray), ray.device,
        np.int64(len(ray)), gradient, ray, values, share, by_value, by_share, CHANNELS=values.shape[1],
    )  # fmt: skip
    return by_value, by_share
