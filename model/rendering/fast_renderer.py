"""Rendering for the eye: without gradients, in a handful of kernels, and nowhere does the processor wait for the GPU.

The general way (`Renderer.forward`) packs samples, for which it must know how many there are. Here the counts stay on the
GPU: every kernel has a thread for each sample there may be, and those without work end at once. So all of it can be recorded
and replayed as one launch. Colours and normals are computed for samples that contribute to a ray only, and added up
as whole numbers, so that a picture does not depend on the order.
"""

from __future__ import annotations

import torch

from ag3d.model.body import label as labels
from ag3d.model.deformation.deformer import Deformer, Posed
from ag3d.model.field.triplane import Table
from ag3d.model.networks.decoder import Decoder
from ag3d.model.ops.fused_field import shade
from ag3d.model.ops.ray_march import weigh
from ag3d.model.rendering.rays import resample

_AWAY = 1e6  # where samples lie that nobody is to search for


@torch.no_grad()
def render(
    origins: torch.Tensor,  # [B,M,3]
    directions: torch.Tensor,  # [B,M,3]
    coarse: torch.Tensor,  # [B,M,S], depths of the first pass
    samples: int,  # of the second pass
    posed: Posed,
    tri: Table,
    decoder: Decoder,
    deformer: Deformer,
    sharpness: torch.Tensor,  # [1], 1/β of the density
    parts: labels.Label,
    empty: float,  # the signed value of samples without a root
    half: float,  # of the planes' side in world units
    deterministic: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colours [B·M,C], normals [B·M,3], depth [B·M,1] and opacity [B·M,1] along the rays; nothing stands behind them."""
    batch, per_image, count = coarse.shape
    departures = deformer.settings.departures
    weights = tuple(tensor.contiguous() for layer in decoder.layers for tensor in layer.effective_parameters())

    def look(depths: torch.Tensor, wanted: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Roots and values of the samples at depths [B,M,k], of the wanted rays [B,M] alone."""
        points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
        if wanted is not None:
            points.masked_fill_(~wanted[:, :, None, None], _AWAY)
        return deformer.search_fast(points.view(batch, -1, 3), posed, *tri, half, weights, empty)

    roots, value = look(coarse)
    value = value.view(-1, count)
    there = value > empty
    density = (sharpness * torch.sigmoid(sharpness * value)).masked_fill_(~there, 0.0)
    coarse = coarse.reshape(-1, count).contiguous()
    fine, depths, rank = resample(coarse, density, samples, deterministic)
    # Coarse samples are denser than the gate is wide: rays without one near the body see nothing.
    more_roots, more = look(fine.view(batch, per_image, -1), there.any(1).view(batch, per_image))
    seen = weigh(depths, rank, value, more.view(-1, samples), sharpness, empty)
    colors, normals = shade(
        seen, (roots, more_roots), per_image, *tri, half, weights, deformer.distance, deformer.distance_shape,
        deformer.box_numbers, posed.search.table, deformer.weights_shape, parts.cam2world.contiguous(),
        departures.metric_gradients, departures.covariant_normals,
    )  # fmt: skip
    depth = seen.depth.clamp(depths.min(), depths.max())
    return colors, normals, depth[:, None], seen.opacity[:, None]
