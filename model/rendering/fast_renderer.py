"""Rendering for the eye: without gradients, in a handful of kernels, and nowhere does the processor wait for the GPU.

The plain twin, `Renderer.render`, packs samples, for which it must know how many there are. Here the counts stay on the
GPU: every kernel has a thread for each sample there may be, and those without work end at once. So all of it can be captured
and replayed as one launch. Colours and normals are computed for samples that contribute to a ray only, and added up
as whole numbers, so that a picture does not depend on the order.
"""

from __future__ import annotations

import math

import torch

from ag3d.config import Network
from ag3d.model.field.posed_field import EMPTY, PosedField
from ag3d.model.ops.composite import visible_samples
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.ops.importance_sampling import can_resample, resample
from ag3d.model.ops.residual_field import can_fuse, shade
from ag3d.model.rendering.rays import Rays, Sampling, coarse_depths

_AWAY = 1e6  # where samples lie that nobody is to search for


def use_fused_renderer(settings: Network, sampling: Sampling, tensor: torch.Tensor) -> bool:
    """Whether posed people can be rendered so, on the device of `tensor`: with the departures that the kernels know."""
    departures = settings.departures
    known = departures.body_bounds and departures.surface_starts and settings.skinning == "search"
    fits = can_fuse(settings.plane_channels) and can_resample(sampling.coarse)
    return known and fits and not torch.is_grad_enabled() and use_cuda_kernels(tensor)


@torch.no_grad()
def render(
    field: PosedField,
    rays: Rays,
    sampling: Sampling,
    sharpness: torch.Tensor,  # [1], 1/β of the density
) -> dict[str, torch.Tensor]:
    """As `Renderer.render`, without `gradient` and `empty`."""
    batch, per_image = rays.directions.shape[:2]
    coarse = coarse_depths(field, rays, sampling)
    roots, sdf = field.best_roots(rays.points(coarse))
    sdf = sdf.view(-1, sampling.coarse)
    there = sdf > EMPTY
    density = (sharpness * torch.sigmoid(sharpness * sdf)).masked_fill_(~there, 0.0)
    coarse = coarse.reshape(-1, sampling.coarse).contiguous()
    fine, depths, rank = resample(coarse, density, sampling.fine, sampling.deterministic)
    # Coarse samples are denser than the gate is wide: rays without one near the body see nothing.
    points = rays.points(fine.view(batch, per_image, -1)).view(batch, per_image, -1, 3)
    points.masked_fill_(~there.any(1).view(batch, per_image, 1, 1), _AWAY)
    fine_roots, fine_sdf = field.best_roots(points.view(batch, -1, 3))
    samples = visible_samples(depths, rank, sdf, fine_sdf.view(-1, sampling.fine), sharpness, EMPTY)
    covariant = field.settings.departures.covariant_normals
    colors, normals = shade(
        samples, (roots, fine_roots), per_image, field.field.tensors, field.posed.transforms,
        rays.cam2world.contiguous(), covariant,
    )  # fmt: skip
    depth = samples.depth.clamp(depths.min(), depths.max())[:, None]
    opacity = samples.opacity[:, None]
    side = math.isqrt(per_image)

    def image_of(values: torch.Tensor) -> torch.Tensor:
        return values.view(batch, side, side, -1).permute(0, 3, 1, 2)

    return {
        "features": image_of((colors + 1 - opacity) * 2 - 1),
        "image_normal": image_of(normals + 1 - opacity),
        "image_depth": image_of(depth),
        "opacity": image_of(opacity),
    }
