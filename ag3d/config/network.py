"""Settings of the generator and the discriminators. Names and defaults follow AG3D; docs/method.md tells the differences."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ag3d.config.settings import option
from ag3d.core.errors import UserError


@dataclass
class Departures:
    """Where the network leaves the reference, each with its reason. All are off under `compatibility: reference`."""

    scaled_transforms: bool = option(
        True, "scale the bones' translations too: otherwise bodies of scale other than 1 come apart from their bones"
    )
    body_bounds: bool = option(
        True,
        "sample each camera's own depth range of the body: otherwise cameras must look along z, and arms before 0.3 are cut",
    )
    solid_body: bool = option(
        True, "keep the body's signed distance everywhere: otherwise its core is hollow and values end abruptly at 0.1"
    )
    metric_gradients: bool = option(True, "residual gradients in metres: otherwise normals mix two units")
    total_eikonal: bool = option(
        True,
        "ask for unit gradients of the whole field where there is body: otherwise of the residual alone, and empty samples count",
    )
    surface_starts: bool = option(
        True,
        "search from the nearest vertex of each part of the body: otherwise from eleven bones, which is slow, loses limbs and keeps near copies of roots",
    )
    covariant_normals: bool = option(
        True,
        "carry normals by the inverse transpose of the blended transform: otherwise they tilt where skin stretches",
    )
    steady_noise: bool = option(
        True,
        "train with the noise that pictures are made with: otherwise the random noise of the coarsest layers, not the latent "
        "code, comes to decide who is shown",
    )
    plain_mapping: bool = option(
        True,
        "map the latent code alone: otherwise a condition that is always zero goes with it, whose bias alone is scaled to the "
        "code's strength, so that half of the mapping's input is a constant that changes quickly",
    )
    small_residual: bool = option(
        True, "start with a small residual: otherwise a new network hides the body under noise"
    )


@dataclass
class Network:
    """Sizes and behaviour of generator and discriminators."""

    image_resolution: int = option(512, "side of the generated images (pixels)", low=16)
    neural_resolution: int = option(0, "side of the volume rendering; 0: half of image_resolution", low=0)
    plane_resolution: int = option(256, "side of the tri-planes", low=8)
    plane_channels: int = option(32, "channels of each plane", low=4)
    z_dim: int = option(512, "length of the latent code", low=1)
    w_dim: int = option(512, "length of the style code", low=1)
    mapping_layers: int = option(2, "layers of the generator's mapping network", low=1, high=100)
    channel_base: int = option(32768, "channels of a layer are channel_base / resolution …", low=64)
    channel_max: int = option(512, "… and never more than this", low=4)
    sr_channels: int = option(128, "channels of the first super-resolution block; the second has half", low=4)
    decoder_hidden: int = option(64, "width of the decoder's hidden layer", low=1)
    conv_clamp: float = option(
        256.0, "activations of super-resolution and discriminators are clamped to ± this; 0: not at all", low=0
    )
    depth_resolution: int = option(36, "samples per ray in the first pass", low=4, high=1024)
    depth_resolution_importance: int = option(36, "samples per ray in the importance pass", low=1, high=1024)
    ray_start: float = option(-0.3, "where the rays' samples begin (world z; without departures.body_bounds)")
    ray_end: float = option(0.3, "where they end")
    box_warp: float = option(1.9, "side of the cube that the tri-planes cover (world units)", low=0.1)
    beta_init: float = option(0.1, "initial width of the density's sigmoid (world units)", low=0.0001)
    beta_min: float = option(
        0.0001,
        "the width never falls below; half a pixel of the volume rendering keeps its outlines smooth",
        low=0.00001,
    )
    cull_distance: float = option(0.12, "samples farther than this from the posed body are empty (world units)", low=0)
    skinning: str = option(
        "search",
        "how posed points find their canonical places: by search, or by the nearest vertex's transform, which tears near "
        "joints (an ablation)",
        choices=("search", "nearest"),
    )
    use_normal_discriminator: bool = option(True, "render normals, and judge them with a discriminator")
    use_face_discriminator: bool = option(True, "judge face crops with discriminators of their own")
    face_fraction: int = option(8, "face crops have the image's side divided by this", low=2)
    discriminator_mapping_layers: int = option(8, "layers of the discriminators' mapping networks", low=1, high=100)
    mbstd_group_size: int = option(4, "group size of the discriminators' minibatch standard deviation", low=1)
    compatibility: str = option(
        "ours", "reference: compute what the reference computes, with its known faults", choices=("ours", "reference")
    )
    departures: Departures = option(Departures, "")

    def __post_init__(self) -> None:
        for name in ("image_resolution", "plane_resolution", "neural_resolution"):
            side = getattr(self, name)
            if side & (side - 1):
                raise UserError(f"configuration: 'network.{name}' is {side}; it must be a power of two")
        neural = self.neural_resolution or self.image_resolution // 2
        if not 4 <= neural <= self.image_resolution:
            raise UserError(
                f"configuration: 'network.neural_resolution' is {neural}; it must be between 4 and image_resolution, which is "
                f"{self.image_resolution}"
            )
        if self.ray_start >= self.ray_end:
            raise UserError(
                f"configuration: 'network.ray_start' is {self.ray_start:g}; it must be less than ray_end, which is "
                f"{self.ray_end:g}"
            )
        if self.channel_base < (largest := max(self.image_resolution, self.plane_resolution)):
            raise UserError(
                f"configuration: 'network.channel_base' is {self.channel_base}, which leaves layers of {largest} pixels "
                f"without channels; at least {largest} is needed"
            )
        if self.use_face_discriminator and neural // self.face_fraction < 4:
            raise UserError(
                f"configuration: 'network.face_fraction' is {self.face_fraction}, which makes face crops of "
                f"{neural // self.face_fraction} pixels; at least 4 are needed: lower it, or set "
                "'network.use_face_discriminator' to false"
            )
        if self.compatibility == "reference":
            self.departures = Departures(**{field.name: False for field in fields(Departures)})
