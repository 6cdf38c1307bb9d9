"""The nearest of a surface's points."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

_CUDA_PAIRS = 1 << 29  # distances at once


def near_body(points: Tensor, surface: Tensor, distance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Which points [N,3] lie within `distance` of the surface's points [V,3], the nearest, and how far: [n] each."""
    low, high = surface.amin(0) - distance, surface.amax(0) + distance
    close = torch.nonzero(((points > low) & (points < high)).all(1)).squeeze(1)
    if points.is_cuda:
        apart, nearest = nearest_by_products(points[close], surface)
    else:
        apart, nearest = nearest_reference(points[close], surface, distance)
    inside = apart < distance
    return close[inside], nearest[inside], apart[inside].to(points.dtype)


def nearest_reference(points: Tensor, surface: Tensor, distance: float = float("inf")) -> tuple[Tensor, Tensor]:
    """How far each point [N,3] is from the nearest of the surface's points [V,3] (float64; infinite beyond `distance`), and which
    that is: [N] each. On a processor."""
    apart, nearest = cKDTree(surface.numpy()).query(points.numpy(), distance_upper_bound=distance)
    return torch.from_numpy(apart), torch.from_numpy(nearest)


def nearest_by_products(points: Tensor, surface: Tensor) -> tuple[Tensor, Tensor]:
    """The same by a matrix product, for GPUs: with cdist's direct way a training step took half a minute there.

    Of points whose squared distances differ by rounding alone (about 1e-6), either may be taken; its distance is exact.
    """
    center = surface.mean(0)  # near zero the product loses least
    points, surface = points - center, surface - center
    factors = product_factors(surface).t()
    chosen = [
        (torch.cat([part, torch.ones_like(part[:, :1])], dim=1) @ factors).argmin(1)
        for part in points.split(max(1, _CUDA_PAIRS // len(surface)))
    ]
    nearest = torch.cat(chosen)
    return torch.linalg.vector_norm(points - surface[nearest], dim=1), nearest


def product_factors(surface: Tensor) -> Tensor:
    """[…,V,3] to […,V,4]: its product with (point, 1) is the squared distance, but for the point's own square."""
    return torch.cat([-2 * surface, surface.square().sum(-1, keepdim=True)], dim=-1)
