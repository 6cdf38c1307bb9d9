"""Compositing along rays at the midpoints of neighbouring samples (as in MipNeRF)."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.ops.ray_march import spread

_SAMPLES = 1 << 19  # at once


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
    return _Composite.apply(values, ray, share, rays)


class _Composite(torch.autograd.Function):
    """A part of the samples at a time: products of all would be the largest tensors of a training step."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, ray: torch.Tensor, share: torch.Tensor, rays: int) -> torch.Tensor:
        ctx.save_for_backward(values, ray, share)
        summed = values.new_zeros(rays, values.shape[1])
        for value, place, weight in zip(values.split(_SAMPLES), ray.split(_SAMPLES), share.split(_SAMPLES)):
            summed.index_add_(0, place, value * weight[:, None])
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, None, torch.Tensor | None, None]:
        values, ray, share = ctx.saved_tensors
        if use_cuda_kernels(values):
            of_value, of_share = spread(gradient, values, ray, share)
            return of_value, None, of_share, None
        by_value = torch.empty_like(values) if ctx.needs_input_grad[0] else None
        by_share = torch.empty_like(share) if ctx.needs_input_grad[2] else None
        for start in range(0, len(ray), _SAMPLES):
            part = slice(start, start + _SAMPLES)
            outer = gradient[ray[part]]
            if by_share is not None:
                by_share[part] = (outer * values[part]).sum(1)
            if by_value is not None:
                torch.mul(outer, share[part, None], out=by_value[part])
        return by_value, None, by_share, None
