"""The generator: from a latent code to an animatable clothed person, seen by a camera in a pose (AG3D, sections 3.1-3.3)."""

from __future__ import annotations

import torch
from torch import nn

from ag3d.config import Network
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.cuda_graphs import GraphedCallable, GraphPool
from ag3d.model.deformation.deformer import Deformer
from ag3d.model.field.canonical_field import CanonicalField
from ag3d.model.field.posed_field import EMPTY, PosedField
from ag3d.model.networks.backbone import Backbone
from ag3d.model.networks.decoder import Decoder
from ag3d.model.networks.stylegan2_layers import NoiseMode
from ag3d.model.networks.superresolution import SuperResolution
from ag3d.model.rendering import fast_renderer
from ag3d.model.rendering.rays import Sampling, camera_rays
from ag3d.model.rendering.renderer import Renderer

SMALL_RESIDUAL = 0.03
MAX_GRAPHED_RAYS = 1 << 19  # of images whose launches are captured: larger batches keep a GPU busy, and much memory


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
        synthesis = self.backbone.synthesis
        self._graphed_mapping = GraphedCallable(self._mapping, self.backbone.mapping)
        self._graphed_planes = GraphedCallable(synthesis, synthesis, nested=True)
        self._graphed_superresolution = GraphedCallable(self.superresolution, self.superresolution, nested=True)
        self._graphed_images = GraphedCallable(self._images)

    def enable_cuda_graphs(self, pool: GraphPool | None = None) -> Generator:
        """Let a GPU replay captured launches (see model.cuda_graphs). The parameters stay where they are from now on.

        `pool`: for what is done without gradients, and ends before anything else begins.
        """
        pool = pool or GraphPool()
        graphed = (self._graphed_mapping, self._graphed_planes, self._graphed_superresolution, self._graphed_images)
        for part in (*graphed, self.deformer.graphed_pose):
            part.enable(pool)
        return self

    def set_compute_dtype(self, dtype: torch.dtype) -> None:
        """Of the convolutions; weights and images stay float32."""
        self.backbone.synthesis.dtype = self.superresolution.dtype = dtype

    @property
    def body(self) -> Body:
        return self.deformer.body

    @property
    def num_ws(self) -> int:
        return self.backbone.mapping.num_ws

    def mapping(self, z: torch.Tensor, truncation: float = 1.0, update_average: bool = False) -> torch.Tensor:
        """z [B,z_dim] to ws [B,num_ws,w_dim]. The pose is no condition of the style."""
        if truncation == 1 and not update_average and not torch.is_grad_enabled():
            return self._graphed_mapping(z)
        return self._mapping(z, truncation, update_average)

    def _mapping(self, z: torch.Tensor, truncation: float = 1.0, update_average: bool = False) -> torch.Tensor:
        condition = torch.zeros(len(z), self.backbone.c_dim, device=z.device) if self.backbone.c_dim else None
        return self.backbone.mapping(z, condition, truncation, update_average)

    def planes(self, ws: torch.Tensor, noise_mode: NoiseMode = "const") -> torch.Tensor:
        """ws to tri-planes [B,3,C,P,P]."""
        drawn = self._graphed_planes(ws, noise_mode=noise_mode)
        return drawn.view(len(ws), 3, -1, *drawn.shape[-2:])

    def canonical_field(self, planes: torch.Tensor) -> CanonicalField:
        """The people of tri-planes [B,3,C,P,P] in the zero pose."""
        return CanonicalField(planes, self.decoder, self.deformer.body_sdf, self.settings)

    def synthesis(
        self,
        ws: torch.Tensor,  # [B,num_ws,w_dim]
        label: torch.Tensor,  # [B,111]
        noise_mode: NoiseMode = "const",
        deterministic: bool = True,
        canonical: bool = False,
        neural_resolution: int | None = None,
        planes: torch.Tensor | None = None,
        depth_resolution: int = 0,
    ) -> dict[str, torch.Tensor]:
        """Images of the people `ws` as the labels pose and see them; with `canonical`, in the zero pose.

        Returns image [B,3,R,R], image_raw, image_normal [B,3,r,r], image_depth, opacity [B,1,r,r], and, but where a GPU renders
        without gradients, `gradient` and `empty` for the eikonal loss. Colours are in [-1,1] over white. Ready `planes` spare
        the backbone. `depth_resolution`: samples of a ray in each pass; 0: as the settings have it.
        """
        planes = self.planes(ws, noise_mode) if planes is None else planes
        resolution = neural_resolution or self.neural_resolution
        coarse = depth_resolution or self.settings.depth_resolution
        fine = depth_resolution or self.settings.depth_resolution_importance
        sampling = Sampling(coarse, fine, deterministic)
        fused = not canonical and fast_renderer.use_fused_renderer(self.settings, sampling, self.deformer.distance)
        few_rays = resolution == self.neural_resolution and len(ws) * resolution**2 <= MAX_GRAPHED_RAYS
        images = self._graphed_images if fused and few_rays else self._images
        return images(planes, ws, label, sampling=sampling, resolution=resolution, canonical=canonical, fused=fused)

    def _images(
        self,
        planes: torch.Tensor,
        ws: torch.Tensor,
        label: torch.Tensor,
        *,
        sampling: Sampling,
        resolution: int,
        canonical: bool,
        fused: bool,
    ) -> dict[str, torch.Tensor]:
        """Render the field, then the super-resolution of its features."""
        camera, field = labels.split(label), self.canonical_field(planes)
        rays = camera_rays(camera.cam2world, camera.intrinsics, resolution)
        if canonical:
            out = self.renderer.render(field, rays, sampling)
        else:
            posed = PosedField(field, self.deformer.pose(label))
            if fused:
                out = fast_renderer.render(posed, rays, sampling, self.renderer.sharpness())
            else:
                out = self.renderer.render(posed, rays, sampling)
        features = out.pop("features")
        out["image_raw"] = features[:, :3]
        out["image"] = self._graphed_superresolution(out["image_raw"], features, ws)
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
        sdf_only: bool = False,
    ) -> dict[str, torch.Tensor]:
        """The field at points [B,N,3]: canonical, or posed where labels are given.

        Returns sdf [B,N] (positive inside; -100 where a posed point has no root), density [B,N], and but for `sdf_only` color
        [B,N,3] in [0,1] and gradient [B,N,3] (canonical, pointing inwards).
        """
        canonical = self.canonical_field(self.planes(ws) if planes is None else planes)
        batch, count = points.shape[:2]
        if label is None:
            flat = torch.arange(batch * count, device=points.device)
            roots = points.reshape(-1, 3)
        else:
            flat, roots, _ = PosedField(canonical, self.deformer.pose(label)).search(points)

        def scatter_back(packed: torch.Tensor, empty: float) -> torch.Tensor:
            out = packed.new_full((batch * count, *packed.shape[1:]), empty)
            return out.index_put((flat,), packed).view(batch, count, *packed.shape[1:])

        image = flat // count
        values = None if sdf_only else canonical.query(roots, image)
        sdf = scatter_back(canonical.sdf(roots, image) if values is None else values.sdf, EMPTY)
        out = {"sdf": sdf, "density": self.renderer.density(sdf)}
        if values is not None:
            color, gradient = scatter_back(values.color[:, :3], 0.0), scatter_back(values.gradient, 0.0)
            out |= {"color": color, "gradient": gradient}
        return out
