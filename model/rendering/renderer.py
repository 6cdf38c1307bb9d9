"""Volume rendering in two passes over packed samples.

Only samples near the posed body exist. A sample's canonical root is chosen by the signed value alone; features, colour
and gradients are computed for the chosen roots only and summed straight into their rays.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.field.canonical_field import CanonicalField
from ag3d.model.field.posed_field import PosedField
from ag3d.model.ops.composite import composite, interval_weights, sample_weights
from ag3d.model.ops.importance_sampling import resample
from ag3d.model.rendering.rays import Rays, Sampling, coarse_depths


class Renderer(nn.Module):
    """Renders features, normals and depth. `sigmoid_beta` is the learned width of the density's sigmoid."""

    def __init__(self, settings: Network) -> None:
        super().__init__()
        self.settings = settings
        self.sigmoid_beta = nn.Parameter(torch.full((1,), settings.beta_init))

    def sharpness(self) -> torch.Tensor:
        """1/β, [1]"""
        return 1 / (self.sigmoid_beta.abs() + self.settings.beta_min)

    def density(self, sdf: torch.Tensor) -> torch.Tensor:
        """σ = sigmoid(s/β)/β"""
        alpha = self.sharpness()
        return alpha * torch.sigmoid(alpha * sdf)

    def render(self, field: CanonicalField | PosedField, rays: Rays, sampling: Sampling) -> dict[str, torch.Tensor]:
        """Rays [B,r·r] to features [B,C,r,r] and image_normal [B,3,r,r] over white, both with background +1; image_depth
        [B,1,r,r] (distance along the ray); opacity [B,1,r,r]; `gradient` [n,3] of the field as the eikonal loss wants it, and
        `empty`, how many further samples had none.
        """
        batch, per_image = rays.directions.shape[:2]
        coarse = coarse_depths(field, rays, sampling)
        count, total = sampling.coarse, sampling.coarse + sampling.fine
        with torch.no_grad():
            first = field.search(rays.points(coarse))
            ray, column = first.flat // count, first.flat % count
            hit = None
            if field.bounded:
                # Coarse samples are denser than the gate is wide: rays without one near the body see nothing.
                hit, rank = _rays_with(ray, batch, per_image)
                rays = Rays(_of_rays(rays.origins, hit), _of_rays(rays.directions, hit), rays.cam2world)
                coarse = _of_rays(coarse, hit)
                ray = ray // per_image * hit.shape[1] + rank.view(-1)[ray]
            hits = rays.directions.shape[1]  # rays of an image
            coarse = coarse.reshape(-1, count)
            density = torch.zeros(coarse.numel(), device=coarse.device)
            density[ray * count + column] = self.density(first.sdf)
            fine, depths, rank = resample(coarse, density.view(-1, count), sampling.fine, sampling.deterministic)
            second = field.search(rays.points(fine.view(batch, hits, -1)))
            column = torch.cat([column, second.flat % sampling.fine + count])
            ray = torch.cat([ray, second.flat // sampling.fine])
            slot = ray * total + rank.view(-1)[ray * total + column]  # index among the sorted samples
            points = torch.cat([first.points, second.points])
            image = ray // hits

        values = field.query(points, image)
        density = torch.zeros(depths.numel(), device=depths.device).index_put((slot,), self.density(values.sdf))
        intervals = interval_weights(density.view(-1, total), depths)
        share = sample_weights(intervals).view(-1).gather(0, slot)
        opacity = intervals.sum(1, keepdim=True)
        features = composite(values.color, ray, share, len(depths)) + 1 - opacity
        sample_normals = field.normals(values.gradient, points, image, rays.cam2world)
        normals = composite(sample_normals, ray, share, len(depths)) + 1 - opacity
        middle = (depths[:, 1:] + depths[:, :-1]) / 2
        far = depths.max()
        depth = (intervals * middle).sum(1, keepdim=True) / intervals.sum(1, keepdim=True)
        depth = depth.nan_to_num(torch.inf).clamp(depths.min(), far)
        side = math.isqrt(per_image)

        def image_of(values: torch.Tensor, elsewhere: float | torch.Tensor) -> torch.Tensor:
            """Values of the hit rays [B·hits,C] as images, with one value at the other rays."""
            values = values.view(batch, hits, -1)
            if hit is not None:
                whole = torch.zeros(batch, per_image, values.shape[-1], device=values.device) + elsewhere
                values = whole.scatter(1, hit[..., None].expand_as(values), values)
            return values.view(batch, side, side, -1).permute(0, 3, 1, 2)

        total_eikonal = self.settings.departures.total_eikonal or isinstance(field, CanonicalField)
        return {
            "features": image_of(features * 2 - 1, 1.0),
            "image_normal": image_of(normals, 1.0),
            "image_depth": image_of(depth, far),
            "opacity": image_of(opacity, 0.0),
            "gradient": values.gradient if total_eikonal else values.residual_gradient,
            "empty": torch.tensor(0 if total_eikonal else depths.numel() - len(points)),
        }


def _rays_with(ray: torch.Tensor, batch: int, per_image: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every image, the rays named in `ray` (indices among all), and others so that each has as many: [B,r] within the
    image, and every ray's place among them [B,M]."""
    hit = torch.zeros(batch * per_image, dtype=torch.bool, device=ray.device)
    hit[ray] = True
    hit = hit.view(batch, per_image)
    order = torch.argsort(hit.byte(), dim=1, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(per_image, device=ray.device).expand_as(order))
    most = max(1, int(hit.sum(1).max()))
    return order[:, :most], rank


def _of_rays(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Values [B,M,k] of the chosen rays [B,r]."""
    return values.gather(1, chosen[..., None].expand(-1, -1, values.shape[-1]))
