"""Where along the rays the second pass looks."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ag3d.model.ops import compiler
from ag3d.model.ops.composite import interval_weights
from ag3d.model.ops.dispatch import use_cuda_kernels

Resampled = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@torch.no_grad()
def resample(coarse: torch.Tensor, density: torch.Tensor, samples: int, deterministic: bool) -> Resampled:
    """Depths drawn where the first pass saw something: coarse depths and their density [n,S].

    Returns the new depths [n,samples]; all depths sorted [n,S+samples]; and the place there of the coarse, then of the new ones.
    """
    cuda = use_cuda_kernels(coarse) and can_resample(coarse.shape[1])
    return (resample_cuda if cuda else resample_torch)(coarse, density, samples, deterministic)


def can_resample(samples: int) -> bool:
    """Whether the kernel knows rays of so many coarse samples."""
    return samples > 3


def resample_torch(coarse: torch.Tensor, density: torch.Tensor, samples: int, deterministic: bool) -> Resampled:
    fine = importance(coarse, interval_weights(density, coarse), samples, deterministic)
    depths, order = torch.sort(torch.cat([coarse, fine], dim=1), dim=1)
    ranks = torch.arange(depths.shape[1], device=order.device).expand_as(order)
    return fine, depths, torch.empty_like(order).scatter_(1, order, ranks)


@torch.no_grad()
def importance(depths: torch.Tensor, weights: torch.Tensor, samples: int, deterministic: bool) -> torch.Tensor:
    """Depths drawn by their weights: depths [n,S], weights of the intervals [n,S-1] to [n,samples].

    The weights are blurred (maximum, then mean of neighbours) and lifted by 0.01, as in EG3D, whose bins are kept too:
    they lie half an interval off the weights.
    """
    blurred = F.max_pool1d(weights[:, None], 2, 1, padding=1)
    blurred = F.avg_pool1d(blurred, 2, 1)[:, 0] + 0.01
    bins = (depths[:, :-1] + depths[:, 1:]) / 2
    pdf = blurred[:, 1:-1] + 1e-5
    pdf = pdf / pdf.sum(1, keepdim=True)
    cdf = torch.cat([torch.zeros_like(pdf[:, :1]), pdf.cumsum(1)], dim=1)
    if deterministic:
        u = ((torch.arange(samples, device=depths.device) + 0.5) / samples).expand(len(depths), samples).contiguous()
    else:
        u = torch.rand(len(depths), samples, device=depths.device)
    index = torch.searchsorted(cdf, u, right=True)
    below, above = (index - 1).clamp_min(0), index.clamp_max(cdf.shape[1] - 1)
    low, high = cdf.gather(1, below), cdf.gather(1, above)
    span = high - low
    span = torch.where(span < 1e-5, torch.ones_like(span), span)
    first, second = bins.gather(1, below), bins.gather(1, above)
    return first + (u - low) / span * (second - first)


def resample_cuda(coarse: torch.Tensor, density: torch.Tensor, samples: int, deterministic: bool) -> Resampled:
    coarse, density = coarse.contiguous(), density.contiguous()
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
