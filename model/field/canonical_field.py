"""What people are in canonical space: tri-planes, their decoder, and the body's signed distance."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ag3d.config import Network
from ag3d.model.networks.decoder import Decoder
from ag3d.model.ops.residual_field import FieldTensors, Residual, residual_field
from ag3d.model.ops.triplane import texel_table
from ag3d.model.ops.voxel_grid import BodySdf


class FieldValues(NamedTuple):
    """The field at packed canonical points."""

    sdf: Tensor  # [n], positive inside
    color: Tensor  # [n,C]
    residual_gradient: Tensor  # [n,3], of the residual, by the planes' normalised coordinates
    gradient: Tensor  # [n,3], of the signed value; it points inwards


class Samples(NamedTuple):
    """Packed samples: those with a canonical root."""

    flat: Tensor  # [n], index among all samples [B·N]
    points: Tensor  # [n,3], the roots with the largest signed values
    sdf: Tensor  # [n], these


class CanonicalField:
    """The people of a batch in the zero pose. `image` [n] tells in every function whose field is asked."""

    def __init__(self, planes: Tensor, decoder: Decoder, body_sdf: BodySdf, settings: Network) -> None:
        """planes: [B,3,C,P,P], over the cube of side `settings.box_warp`."""
        self.planes, self.decoder, self.body_sdf, self.settings = texel_table(planes), decoder, body_sdf, settings
        self.half = settings.box_warp / 2

    bounded = False  # whether the rays' samples are laid around the body

    @functools.cached_property
    @torch.no_grad()
    def tensors(self) -> FieldTensors:
        """As kernels take it."""
        metric = self.settings.departures.metric_gradients
        return FieldTensors(self.planes, self.half, self.decoder.weights(), self.body_sdf, metric)

    def residual(self, points: Tensor, image: Tensor, color: bool = True, gradient: bool = True) -> Residual:
        """What the planes add to the body's distance, at points [n,3]; differentiable by planes and decoder."""
        return residual_field(self.planes, self.decoder.weights(), points / self.half, image, color, gradient)

    def query(self, points: Tensor, image: Tensor) -> FieldValues:
        """All of the field at points [n,3]."""
        residual = self.residual(points, image)
        distance, distance_gradient = self.body_sdf(points)
        metric = self.settings.departures.metric_gradients
        by_world = residual.gradient / self.half if metric else residual.gradient
        return FieldValues(residual.value + distance, residual.color, residual.gradient, distance_gradient + by_world)

    def sdf(self, points: Tensor, image: Tensor) -> Tensor:
        """The signed value alone [n] at points [n,3]."""
        residual = self.residual(points, image, color=False, gradient=False)
        return residual.value + self.body_sdf(points, gradient=False)[0]

    @torch.no_grad()
    def search(self, points: Tensor) -> Samples:
        """Points [B,N,3] are their own roots."""
        flat = torch.arange(points.shape[0] * points.shape[1], device=points.device)
        cloud = points.reshape(-1, 3)
        return Samples(flat, cloud, self.sdf(cloud, flat // points.shape[1]))

    def depth_range(self, cam2world: Tensor) -> tuple[Tensor, Tensor]:
        """Between which world depths [B], [B] the rays are sampled."""
        batch, device = len(cam2world), cam2world.device
        near = torch.full((batch,), self.settings.ray_start, device=device)
        return near, torch.full((batch,), self.settings.ray_end, device=device)

    def normals(self, gradient: Tensor, points: Tensor, image: Tensor, cam2world: Tensor) -> Tensor:
        """Unit normals [n,3] as normal maps have them (x right, y up, z to the viewer) from gradients [n,3] at points [n,3]."""
        return F.normalize(torch.cat([-gradient[:, :1], gradient[:, 1:]], dim=1), dim=1, eps=1e-12)
