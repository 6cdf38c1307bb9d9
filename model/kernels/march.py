"""The second pass's samples along rays. The plain twin is rendering/rays.py's `resample`."""

from __future__ import annotations

import torch

from ag3d.model.kernels.compiler import launch


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
    launch("march", "resample", count, coarse.device, count, coarse, density, uniform, fine, depths, rank, **sizes)
    return fine, depths, rank
