"""The generator: from a latent code to an animatable clothed person, seen by a camera in a pose (AG3D, sections 3.1-3.3)."""

from __future__ import annotations

import functools

import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.body.body import Body
from ag3d.model.cuda_graphs import Memory, Recorded
from ag3d.model.deformation.deformer import Deformer
from ag3d.model.field.triplane import table
from ag3d.model.networks.backbone import Backbone
from ag3d.model.networks.decoder import Decoder
from ag3d.model.networks.stylegan2_layers import NoiseMode
from ag3d.model.networks.superresolution import SuperResolution
from ag3d.model.rendering.renderer import EMPTY, Renderer

SMALL_RESIDUAL = 0.03
MOST_RAYS = 1 << 19  # of pictures whose launches are recorded: larger batches keep a GPU busy, and much memory
_SHOWN = ("image", "image_raw", "image_normal", "image_depth", "opacity")


class Generator(nn.Module):
    """Tensor names are those of AG3D's released checkpoints. The body is no part of the state."""

    def __init__(self, settings: Network, body: Body, signed_distance: torch.Tensor | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.resolution = settings.image_resolution
        self.neural_resolution = settings.neural_resolution or settings.image_resolution // 2
        self.renderer = Renderer(settings)
        self.backbone = Backbone(settings)
        scale = SMALL_RESIDUAL if settings.departures.small_residual else 1.0
        self.decoder = Decoder(settings.plane_channels, settings.decoder_hidden, settings.plane_channels, scale)
        self.superresolution = SuperResolution(settings, settings.image_resolution // 2)
        self.deformer = Deformer(settings, body, signed_distance)
        self._recorded = {
            mode: Recorded(
                functools.partial(self.backbone.synthesis, noise_mode=mode), self.backbone.synthesis, nested=True
            )
            for mode in ("random", "const", "none")
        }
        self._recorded["superresolution"] = Recorded(self.superresolution, self.superresolution, nested=True)
        self._recorded["mapping"] = Recorded(self._mapping, self.backbone.mapping)
        self._recorded["show"] = Recorded(functools.partial(self._show, deterministic=True))
        self._recorded["show, random"] = Recorded(functools.partial(self._show, deterministic=False))

    def record(self, memory: Memory | None = None) -> Generator:
        """Let a GPU replay the convolutions' launches (see `recording`). The parameters stay where they are from now on.

        `memory`: for what is done without gradients, and ends before anything else begins.
        """
        memory = memory or Memory()
        for part in (*self._recorded.values(), self.deformer.recorded):
            part.on, part.memory = True, memory
            part.forget()
        return self

    @property
    def body(self) -> Body:
        return self.deformer.body

    @property
    def num_ws(self) -> int:
        return self.backbone.mapping.num_ws

    def mapping(self, z: torch.Tensor, truncation: float = 1.0, update_average: bool = False) -> torch.Tensor:
        """z [B,z_dim] to ws [B,num_ws,w_dim]. The pose is no condition of the style."""
        if truncation == 1 and not update_average and not torch.is_grad_enabled():
            return self._recorded["mapping"](z)
        return self._mapping(z, truncation, update_average)

    def _mapping(self, z: torch.Tensor, truncation: float = 1.0, update_average: bool = False) -> torch.Tensor:
        condition = torch.zeros(len(z), self.backbone.c_dim, device=z.device) if self.backbone.c_dim else None
        return self.backbone.mapping(z, condition, truncation, update_average)

    def planes(self, ws: torch.Tensor, noise_mode: NoiseMode = "const") -> torch.Tensor:
        """ws to tri-planes [B,3,C,P,P]."""
        drawn = self._recorded[noise_mode](ws)
        return drawn.view(len(ws), 3, -1, *drawn.shape[-2:])

    def synthesis(
        self,
        ws: torch.Tensor,  # [B,num_ws,w_dim]
        label: torch.Tensor,  # [B,111]
        noise_mode: NoiseMode = "const",
        deterministic: bool = True,
        canonical: bool = False,
        neural_resolution: int | None = None,
        planes: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Images of the people `ws` as the labels pose and see them.

        Returns image [B,3,R,R], image_raw, image_normal [B,3,r,r], image_depth, opacity [B,1,r,r], and with gradients
        `gradient` and `empty` for the eikonal loss. Colours are in [-1,1] over white. Ready `planes` spare the backbone.
        """
        tri = self.planes(ws, noise_mode) if planes is None else planes
        resolution = neural_resolution or self.neural_resolution
        if not canonical and self.renderer.at_once(self.deformer, self.decoder):
            if resolution == self.neural_resolution and len(ws) * resolution**2 <= MOST_RAYS:
                show = self._recorded["show" if deterministic else "show, random"]
                return dict(zip(_SHOWN, show(tri, ws, label)))
            return dict(zip(_SHOWN, self._show(tri, ws, label, deterministic, resolution)))
        return self._rendered(tri, ws, label, deterministic, canonical, resolution)

    def _show(
        self, tri: torch.Tensor, ws: torch.Tensor, label: torch.Tensor, deterministic: bool, resolution: int = 0
    ) -> tuple[torch.Tensor, ...]:
        out = self._rendered(tri, ws, label, deterministic, False, resolution or self.neural_resolution)
        return tuple(out[name] for name in _SHOWN)

    def _rendered(
        self,
        tri: torch.Tensor,
        ws: torch.Tensor,
        label: torch.Tensor,
        deterministic: bool,
        canonical: bool,
        resolution: int,
    ) -> dict[str, torch.Tensor]:
        out = self.renderer(tri, label, self.decoder, self.deformer, resolution, deterministic, canonical)
        features = out.pop("features")
        out["image_raw"] = features[:, :3]
        out["image"] = self._recorded["superresolution"](out["image_raw"], features, ws)
        return out

    def forward(
        self,
        z: torch.Tensor,
        label: torch.Tensor,
        truncation: float = 1.0,
        noise_mode: NoiseMode = "const",
        deterministic: bool = True,
    ) -> dict[str, torch.Tensor]:
        return self.synthesis(self.mapping(z, truncation), label, noise_mode, deterministic)

    def field(
        self,
        points: torch.Tensor,
        ws: torch.Tensor,
        label: torch.Tensor | None = None,
        planes: torch.Tensor | None = None,
        shown: bool = True,
    ) -> dict[str, torch.Tensor]:
        """The field at points [B,N,3]: canonical, or posed where labels are given.

        Returns sdf [B,N] (positive inside; -100 where a posed point has no root), density [B,N], and if `shown` color
        [B,N,3] in [0,1] and gradient [B,N,3] (canonical, pointing inwards).
        """
        tri = table(self.planes(ws) if planes is None else planes)
        batch, count = points.shape[:2]
        if label is None:
            place = torch.arange(batch * count, device=points.device)
            roots = points.reshape(-1, 3)
        else:
            found, _ = self.renderer.find(points, self.deformer.pose(label), tri, self.decoder, self.deformer)
            place, roots = found.flat, found.points
        values = self.renderer.field(roots, place // count, tri, self.decoder, self.deformer, shown)

        def spread(packed: torch.Tensor, empty: float) -> torch.Tensor:
            out = packed.new_full((batch * count, *packed.shape[1:]), empty)
            return out.index_put((place,), packed).view(batch, count, *packed.shape[1:])

        sdf = spread(values.sdf, EMPTY)
        out = {"sdf": sdf, "density": self.renderer.density(sdf)}
        if shown:
            out |= {"color": spread(values.color[:, :3], 0.0), "gradient": spread(values.gradient, 0.0)}
        return out
