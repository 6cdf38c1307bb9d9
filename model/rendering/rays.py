"""Pin-hole rays and the places of samples on them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ag3d.model.ops import ray_march as kernel
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.rendering import ray_marcher


def rays(cam2world: torch.Tensor, intrinsics: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Origins and unit directions [B,R·R,3] through the pixel centres, row by row.

    cam2world: [B,4,4], OpenCV axes; intrinsics: [B,3,3] in units of the image's size.
    """
    batch, device = len(cam2world), cam2world.device
    centers = (torch.arange(resolution, device=device, dtype=torch.float32) + 0.5) / resolution
    v, u = torch.meshgrid(centers, centers, indexing="ij")
    u, v = u.reshape(1, -1), v.reshape(1, -1)
    fx, fy, cx, cy, skew = (intrinsics[:, r, c, None] for r, c in ((0, 0), (1, 1), (0, 2), (1, 2), (0, 1)))
    y = (v - cy) / fy
    x = (u - cx + cy * skew / fy - skew * v / fy) / fx
    y = y.expand_as(x)
    local = torch.stack([x, y, torch.ones_like(x), torch.ones_like(x)], dim=-1)
    points = (local @ cam2world.transpose(1, 2))[..., :3]
    origins = cam2world[:, None, :3, 3]
    return origins.expand(batch, points.shape[1], 3), F.normalize(points - origins, dim=-1)


def stratified(
    start: torch.Tensor, end: torch.Tensor, samples: int, rays_per_image: int, deterministic: bool
) -> torch.Tensor:
    """One depth in each of `samples` strata between start [B] and end [B]: [B,M,S]. Deterministic: the middles."""
    share = torch.linspace(0, 1, samples, device=start.device)
    depths = start[:, None, None] + (end - start)[:, None, None] * share
    width = ((end - start) / (samples - 1))[:, None, None]
    if deterministic:
        return (depths + 0.5 * width).expand(-1, rays_per_image, -1)
    return depths + torch.rand(len(start), rays_per_image, samples, device=start.device) * width


@torch.no_grad()
def importance(depths: torch.Tensor, weights: torch.Tensor, samples: int, deterministic: bool) -> torch.Tensor:
    """Depths drawn where the first pass saw something: depths [n,S], weights [n,S-1] to [n,samples].

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


@torch.no_grad()
def resample(
    coarse: torch.Tensor, density: torch.Tensor, samples: int, deterministic: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Where the second pass looks: coarse depths and their density [n,S].

    Returns its depths [n,samples]; all depths sorted [n,S+samples]; and the place there of the coarse, then of the new ones.
    """
    if use_cuda_kernels(coarse) and coarse.shape[1] > 3:
        return kernel.resample(coarse.contiguous(), density.contiguous(), samples, deterministic)
    fine = importance(coarse, ray_marcher.weights(density, coarse), samples, deterministic)
    depths, order = torch.sort(torch.cat([coarse, fine], dim=1), dim=1)
    places = torch.arange(depths.shape[1], device=order.device).expand_as(order)
    return fine, depths, torch.empty_like(order).scatter_(1, order, places)
