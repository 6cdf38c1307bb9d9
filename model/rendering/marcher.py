"""Compositing along rays at the midpoints of neighbouring samples (as in MipNeRF)."""

from __future__ import annotations

import torch


def weights(density: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
    """Weights [n,S-1] of the intervals between sorted samples: density [n,S], depths [n,S]."""
    delta = depths[:, 1:] - depths[:, :-1]
    alpha = 1 - torch.exp(-(density[:, :-1] + density[:, 1:]) / 2 * delta)
    shifted = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], dim=1)
    return alpha * shifted.cumprod(1)[:, :-1]


def sample_weights(intervals: torch.Tensor) -> torch.Tensor:
    """What each sample contributes [n,S], where an interval [n,S-1] shows the mean of its two ends."""
    nothing = torch.zeros_like(intervals[:, :1])
    return (torch.cat([intervals, nothing], dim=1) + torch.cat([nothing, intervals], dim=1)) / 2


def composite(values: torch.Tensor, ray: torch.Tensor, share: torch.Tensor, rays: int) -> torch.Tensor:
    """Sum packed sample values [n,C] over their rays: ray [n] (index), share [n] (weight) to [rays,C].

    Samples without a value count as zero.
    """
    return torch.zeros(rays, values.shape[1], dtype=values.dtype, device=values.device).index_add(
        0, ray, values * share[:, None]
    )
