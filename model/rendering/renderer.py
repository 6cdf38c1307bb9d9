"""Volume rendering of the canonical field through the deformer: two passes over packed samples.

Only samples near the posed body exist. A sample's canonical root is chosen by the signed value alone; features, colour
and gradients are computed for the chosen roots only and summed straight into their rays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ag3d.config import Network
from ag3d.model.body import label as labels
from ag3d.model.body.rotation import batched_matvec
from ag3d.model.deformation.deformer import Deformer, Posed, depth_bounds
from ag3d.model.field.posed_field import residual
from ag3d.model.field.triplane import Table, table
from ag3d.model.networks.decoder import Decoder
from ag3d.model.ops.dispatch import use_cuda_kernels
from ag3d.model.rendering import fast_renderer, ray_marcher
from ag3d.model.rendering.rays import rays, resample, stratified

EMPTY = -100.0  # the signed value of samples without a root


@dataclass
class Samples:
    """Packed samples: those with a canonical root."""

    flat: torch.Tensor  # [n] place among all samples [B·M·S]
    points: torch.Tensor  # [n,3] canonical roots


@dataclass
class Values:
    """The field at packed canonical points."""

    sdf: torch.Tensor  # [n], positive inside
    color: torch.Tensor  # [n,C], or [n,0] where it is not asked for
    residual_gradient: torch.Tensor  # [n,3] (or [n,0]), of the residual, by the planes' normalised coordinates
    gradient: torch.Tensor  # [n,3] (or [n,0]), of the signed value


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

    def field(
        self,
        points: torch.Tensor,
        image: torch.Tensor,
        tri: Table,
        decoder: Decoder,
        deformer: Deformer,
        shown: bool = True,
    ) -> Values:
        """The canonical field at points [n,3] of the images [n] with the planes `tri`; without `shown`, the sdf alone."""
        half = self.settings.box_warp / 2
        found = residual(tri, points / half, image, decoder, color=shown, gradient=shown)
        distance, distance_gradient = deformer.body_distance(points, gradient=shown)
        by_world = found.gradient / half if self.settings.departures.metric_gradients else found.gradient
        gradient = distance_gradient + by_world if shown else by_world
        return Values(found.value + distance, found.color, found.gradient, gradient)

    @torch.no_grad()
    def sdf(
        self, points: torch.Tensor, image: torch.Tensor, tri: Table, decoder: Decoder, deformer: Deformer
    ) -> torch.Tensor:
        """The signed value alone, without gradient: [n]."""
        found = residual(tri, points / (self.settings.box_warp / 2), image, decoder, color=False, gradient=False)
        return found.value + deformer.body_distance(points, gradient=False)[0]

    @torch.no_grad()
    def find(
        self, points: torch.Tensor, posed: Posed, tri: Table, decoder: Decoder, deformer: Deformer
    ) -> tuple[Samples, torch.Tensor]:
        """The samples among posed points [B,N,3] that have a root, each with its best root and its signed value [n]."""
        if posed.around is not None and decoder.features % 4 == 0:
            weights = tuple(tensor for layer in decoder.layers for tensor in layer.effective_parameters())
            half = self.settings.box_warp / 2
            roots, values = deformer.search_fast(points, posed, *tri, half, weights, EMPTY)
            flat = torch.nonzero(values > EMPTY).squeeze(1)
            return Samples(flat, roots[flat]), values[flat]
        count = points.shape[1]
        candidates = deformer.candidates(points, posed)
        flat = candidates.flat
        values = self.sdf(candidates.roots, flat // count, tri, decoder, deformer)
        best = torch.full((points.shape[0] * count,), EMPTY, device=points.device)
        best.scatter_reduce_(0, flat, values, "amax")
        # Of equal values the first counts.
        place = torch.arange(len(flat), dtype=torch.int32, device=flat.device)
        rank = torch.where((values == best[flat]) & (values > EMPTY), place, len(flat))
        first = torch.full((len(best),), len(flat), dtype=torch.int32, device=flat.device)
        first.scatter_reduce_(0, flat, rank, "amin")
        winner = torch.nonzero(first[flat] == place).squeeze(1)
        return Samples(flat[winner], candidates.roots[winner]), values[winner]

    def forward(
        self,
        tri: torch.Tensor,
        label: torch.Tensor,
        decoder: Decoder,
        deformer: Deformer,
        resolution: int,
        deterministic: bool,
        canonical: bool = False,
    ) -> dict[str, torch.Tensor]:
        """tri: [B,3,C,P,P]; label: [B,111]; with `canonical`, the undeformed field is rendered by the label's camera.

        Returns features [B,C,r,r] and image_normal [B,3,r,r] over white, both with background +1; image_depth [B,1,r,r] (distance along the ray); `gradient` [n,3]
        of the field as the eikonal loss wants it, and `empty`, how many further samples had none (neither where a GPU
        renders without gradients).
        """
        parts, packed = labels.split(label), table(tri)
        posed = None if canonical else deformer.pose(label)
        origins, directions = rays(parts.cam2world, parts.intrinsics, resolution)
        batch, per_image = directions.shape[:2]

        def place(origins: torch.Tensor, directions: torch.Tensor, depths: torch.Tensor) -> torch.Tensor:
            return (origins[:, :, None] + depths[..., None] * directions[:, :, None]).reshape(batch, -1, 3)

        def locate(points: torch.Tensor) -> tuple[Samples, torch.Tensor]:
            if posed is not None:
                return self.find(points, posed, packed, decoder, deformer)
            every = torch.arange(points.shape[0] * points.shape[1], device=points.device)
            cloud = points.reshape(-1, 3)
            return Samples(every, cloud), self.sdf(cloud, every // points.shape[1], packed, decoder, deformer)

        coarse = self._first_depths(parts, posed, origins, directions, deterministic)
        if posed is not None and self.at_once(deformer, decoder):
            return self._shown(origins, directions, coarse, posed, packed, decoder, deformer, parts, deterministic)
        count, fine_count = coarse.shape[-1], self.settings.depth_resolution_importance
        with torch.no_grad():
            first, value = locate(place(origins, directions, coarse))
            ray, column = first.flat // count, first.flat % count
            chosen = None
            if self.settings.departures.body_bounds and posed is not None:
                # Coarse samples are denser than the gate is wide: rays without one near the body see nothing.
                chosen, rank = _rays_with(ray, batch, per_image)
                origins, directions, coarse = (_of_rays(part, chosen) for part in (origins, directions, coarse))
                ray = ray // per_image * chosen.shape[1] + rank.view(-1)[ray]
            shown = directions.shape[1]  # rays of an image
            coarse = coarse.reshape(-1, count)
            density = torch.zeros(coarse.numel(), device=label.device)
            density[ray * count + column] = self.density(value)
            fine, depths, rank = resample(coarse, density.view(-1, count), fine_count, deterministic)
            second, _ = locate(place(origins, directions, fine.view(batch, shown, -1)))
            total = count + fine_count
            column = torch.cat([column, second.flat % fine_count + count])
            ray = torch.cat([ray, second.flat // fine_count])
            slot = ray * total + rank.view(-1)[ray * total + column]  # place among the sorted samples
            points = torch.cat([first.points, second.points])
            image = ray // shown

        values = self.field(points, image, packed, decoder, deformer)
        density = torch.zeros(depths.numel(), device=label.device).index_put((slot,), self.density(values.sdf))
        intervals = ray_marcher.weights(density.view(-1, total), depths)
        share = ray_marcher.sample_weights(intervals).view(-1).gather(0, slot)
        opacity = intervals.sum(1, keepdim=True)
        features = ray_marcher.composite(values.color, ray, share, len(depths)) + 1 - opacity
        bent = self._normals(values.gradient, points, posed, image, deformer, parts)
        normals = ray_marcher.composite(bent, ray, share, len(depths)) + 1 - opacity
        middle = (depths[:, 1:] + depths[:, :-1]) / 2
        far = depths.max()
        depth = (intervals * middle).sum(1, keepdim=True) / intervals.sum(1, keepdim=True)
        depth = depth.nan_to_num(torch.inf).clamp(depths.min(), far)

        def image_of(rays: torch.Tensor, elsewhere: float | torch.Tensor) -> torch.Tensor:
            """Values of the shown rays [B·shown,C] as images, with one value at the other rays."""
            rays = rays.view(batch, shown, -1)
            if chosen is not None:
                whole = torch.zeros(batch, per_image, rays.shape[-1], device=rays.device) + elsewhere
                rays = whole.scatter(1, chosen[..., None].expand_as(rays), rays)
            return rays.view(batch, resolution, resolution, -1).permute(0, 3, 1, 2)

        total_eikonal = self.settings.departures.total_eikonal or canonical
        return {
            "features": image_of(features * 2 - 1, 1.0),
            "image_normal": image_of(normals, 1.0),
            "image_depth": image_of(depth, far),
            "opacity": image_of(opacity, 0.0),
            "gradient": values.gradient if total_eikonal else values.residual_gradient,
            "empty": torch.tensor(0 if total_eikonal else depths.numel() - len(points)),
        }

    def at_once(self, deformer: Deformer, decoder: Decoder) -> bool:
        """Whether posed people are rendered without that the processor waits for the GPU: see `shown`."""
        settings = self.settings
        departures = settings.departures
        able = departures.body_bounds and departures.surface_starts and settings.skinning == "search"
        return (
            able
            and not torch.is_grad_enabled()
            and decoder.features % 4 == 0
            and settings.depth_resolution > 3
            and use_cuda_kernels(deformer.distance)
        )

    def _shown(
        self,
        origins: torch.Tensor,
        directions: torch.Tensor,
        coarse: torch.Tensor,
        posed: Posed,
        packed: Table,
        decoder: Decoder,
        deformer: Deformer,
        parts: labels.Label,
        deterministic: bool,
    ) -> dict[str, torch.Tensor]:
        """The pictures alone, by the shorter way."""
        batch, per_image = directions.shape[:2]
        colors, normals, depth, opacity = fast_renderer.render(
            origins, directions, coarse, self.settings.depth_resolution_importance, posed, packed, decoder, deformer, self.sharpness(),
            parts, EMPTY, self.settings.box_warp / 2, deterministic,
        )  # fmt: skip
        side = math.isqrt(per_image)

        def image_of(rays: torch.Tensor) -> torch.Tensor:
            return rays.view(batch, side, side, -1).permute(0, 3, 1, 2)

        return {
            "features": image_of((colors + 1 - opacity) * 2 - 1),
            "image_normal": image_of(normals + 1 - opacity),
            "image_depth": image_of(depth),
            "opacity": image_of(opacity),
        }

    def _first_depths(
        self,
        parts: labels.Label,
        posed: Posed | None,
        origins: torch.Tensor,
        directions: torch.Tensor,
        deterministic: bool,
    ) -> torch.Tensor:
        """Depths [B,M,S] of the first pass, along the rays."""
        settings = self.settings
        batch, per_image = directions.shape[:2]
        if settings.departures.body_bounds and posed is not None:
            near, far = depth_bounds(posed.surface, parts.cam2world, settings.cull_distance / 2)
            return stratified(near, far, settings.depth_resolution, per_image, deterministic)
        near = torch.full((batch,), settings.ray_start, device=origins.device)
        far = torch.full((batch,), settings.ray_end, device=origins.device)
        return stratified(near, far, settings.depth_resolution, per_image, deterministic) - origins[:, :, 2:]

    def _normals(
        self,
        gradient: torch.Tensor,
        points: torch.Tensor,
        posed: Posed | None,
        image: torch.Tensor,
        deformer: Deformer,
        parts: labels.Label,
    ) -> torch.Tensor:
        """Unit normals [n,3] as normal maps have them: x right, y up, z to the viewer. The gradient points inwards."""
        if posed is not None:
            gradient = deformer.carry_gradient(gradient, points, posed, image)
            if self.settings.departures.body_bounds:  # cameras may look anywhere
                gradient = batched_matvec(parts.cam2world[:, :3, :3].transpose(1, 2)[image], gradient)
        return F.normalize(torch.cat([-gradient[:, :1], gradient[:, 1:]], dim=1), dim=1, eps=1e-12)


def _rays_with(ray: torch.Tensor, batch: int, per_image: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of every image, the rays named in `ray` (places among all), and others so that each has as many: [B,r] within the
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
