"""Compositing along rays at the midpoints of neighbouring samples (as in MipNeRF)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ag3d.model.ops import compiler
from ag3d.model.ops.dispatch import use_cuda_kernels

_CHUNK = 1 << 19  # samples at once
_LEAST_SHARE = 1e-6  # samples that contribute less are not seen; 8 bits show 4e-3


def interval_weights(density: Tensor, depths: Tensor) -> Tensor:
    """Weights [n,S-1] of the intervals between sorted samples: density [n,S], depths [n,S]."""
    delta = depths[:, 1:] - depths[:, :-1]
    alpha = 1 - torch.exp(-(density[:, :-1] + density[:, 1:]) / 2 * delta)
    shifted = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], dim=1)
    return alpha * shifted.cumprod(1)[:, :-1]


def sample_weights(intervals: Tensor) -> Tensor:
    """What each sample contributes [n,S], where an interval [n,S-1] shows the mean of its two ends."""
    nothing = torch.zeros_like(intervals[:, :1])
    return (torch.cat([intervals, nothing], dim=1) + torch.cat([nothing, intervals], dim=1)) / 2


def composite(values: Tensor, ray: Tensor, share: Tensor, rays: int) -> Tensor:
    """Sum packed sample values [n,C] over their rays: ray [n] (index), share [n] (weight) to [rays,C].

    Samples without a value count as zero.
    """
    return _Composite.apply(values, ray, share, rays)


class _Composite(torch.autograd.Function):
    """A part of the samples at a time: products of all would be the largest tensors of a training step."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, ray: Tensor, share: Tensor, rays: int) -> Tensor:
        ctx.save_for_backward(values, ray, share)
        summed = values.new_zeros(rays, values.shape[1])
        for value, index, weight in zip(values.split(_CHUNK), ray.split(_CHUNK), share.split(_CHUNK)):
            summed.index_add_(0, index, value * weight[:, None])
        return summed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, Tensor | None, None]:
        values, ray, share = ctx.saved_tensors
        if use_cuda_kernels(values):
            of_value, of_share = composite_gradient_cuda(gradient, values, ray, share)
            return of_value, None, of_share, None
        needs_values, _, needs_share, _ = ctx.needs_input_grad
        by_value, by_share = composite_gradient_torch(gradient, values, ray, share, needs_values, needs_share)
        return by_value, None, by_share, None


def composite_gradient_torch(
    gradient: Tensor,  # [rays,C]
    values: Tensor,
    ray: Tensor,
    share: Tensor,
    needs_values: bool = True,
    needs_share: bool = True,
) -> tuple[Tensor | None, Tensor | None]:
    """By the values [n,C] and by their shares [n]."""
    by_value = torch.empty_like(values) if needs_values else None
    by_share = torch.empty_like(share) if needs_share else None
    for start in range(0, len(ray), _CHUNK):
        part = slice(start, start + _CHUNK)
        outer = gradient[ray[part]]
        if by_share is not None:
            by_share[part] = (outer * values[part]).sum(1)
        if by_value is not None:
            torch.mul(outer, share[part, None], out=by_value[part])
    return by_value, by_share


def composite_gradient_cuda(gradient: Tensor, values: Tensor, ray: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    gradient, values, ray, share = (each.contiguous() for each in (gradient, values, ray, share))
    by_value, by_share = torch.empty_like(values), torch.empty_like(share)
    compiler.launch(
        "composite", "spread", len(ray), ray.device,
        np.int64(len(ray)), gradient, ray, values, share, by_value, by_share, CHANNELS=values.shape[1],
    )  # fmt: skip
    return by_value, by_share


class VisibleSamples(NamedTuple):
    """What samples contribute to n rays."""

    opacity: Tensor  # [n]
    depth: Tensor  # [n], mean along the ray; huge where nothing is seen
    chosen: Tensor  # [n·samples], the first `number` are samples that contribute: ray · samples + sample
    share: Tensor  # [n·samples], by how much each of these does
    number: Tensor  # [1] int32


def visible_samples(
    depths: Tensor,  # [n,S+samples], sorted
    rank: Tensor,  # [n,S+samples], the place there of the first, then of the second samples
    first: Tensor,  # [n,S], signed values
    second: Tensor,  # [n,samples]
    sharpness: Tensor,  # [1], 1/β of the density
    empty: float,  # the signed value of samples without a root
) -> VisibleSamples:
    """`sample_weights` of `interval_weights` in one kernel, as a list of the samples that count, whose length stays on the GPU."""
    count, device = len(depths), depths.device
    samples = VisibleSamples(
        torch.empty(count, device=device),
        torch.empty(count, device=device),
        torch.empty(depths.numel(), dtype=torch.long, device=device),
        torch.empty(depths.numel(), device=device),
        torch.zeros(1, dtype=torch.int32, device=device),
    )
    compiler.launch(
        "march", "weigh", count, device,
        count, depths, rank, first, second, sharpness, float(empty), _LEAST_SHARE, samples.opacity, samples.depth,
        samples.number, samples.chosen, samples.share, FIRST=first.shape[1], SECOND=second.shape[1],
    )  # fmt: skip
    return samples
