"""Which network a released checkpoint is: our settings from its tensors' names and shapes, and from what it says of itself."""

from __future__ import annotations

import re
from typing import Any

import torch

from ag3d.config import Network
from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.model.checkpoint import Shapes, generator_shapes, shapes_of
from ag3d.model.legacy.key_map import attributes, option
from ag3d.model.networks.discriminator import Discriminators

CLAMP = 256.0
MOST_SAMPLES = 1024
_SAMPLES = ("depth_resolution", "depth_resolution_importance")
_LENGTHS = ("ray_start", "ray_end", "box_warp")
# What every released network has; with another value it is a network that this package does not have.
_NEEDED = {"c_gen_conditioning_zero": True, "is_sdf": True, "white_back": True, "decoder_lr_mul": 1}


def settings_from_shapes(generator: Shapes, discriminator: Shapes) -> dict[str, Any]:
    """Settings (of ag3d.config.Network) that the shapes tell. Raises KeyError or IndexError where tensors are missing."""
    hidden, planes = generator["decoder.net.0.weight"]
    w_dim = generator["backbone.mapping.embed.weight"][0]
    blocks = _widths(generator, r"backbone\.synthesis\.b(\d+)\.conv1\.weight")
    widths = [*blocks.items(), *_widths(discriminator, r"D_\w+\.b(\d+)\.conv0\.weight").items()]
    highest = max(width for _, width in widths)
    narrow = [side * width for side, width in widths if width < highest]
    settings: dict[str, Any] = {
        "image_resolution": generator["superresolution.block1.conv0.noise_const"][0],
        "plane_resolution": max(blocks),
        "plane_channels": planes,
        "z_dim": generator["backbone.mapping.fc0.weight"][1] - w_dim,
        "w_dim": w_dim,
        "mapping_layers": _layers(generator, "backbone.mapping"),
        "channel_base": max(narrow) if narrow else highest * max(side for side, _ in widths),
        "channel_max": highest,
        "sr_channels": generator["superresolution.block0.conv0.weight"][0],
        "decoder_hidden": hidden,
        "face_fraction": min(8, generator["superresolution.block1.conv0.noise_const"][0] // 8),
        "compatibility": "reference",
    }
    if discriminator:
        face = max(_widths(discriminator, r"D_face_image\.b(\d+)\.conv0\.weight"), default=4)
        settings |= {
            "discriminator_mapping_layers": _layers(discriminator, "D_image.mapping"),
            "use_normal_discriminator": "D_normal.b4.out.weight" in discriminator,
            "use_face_discriminator": "D_face_image.b4.out.weight" in discriminator,
            "face_fraction": settings["image_resolution"] // face,
        }
    return settings


def _widths(shapes: Shapes, pattern: str) -> dict[int, int]:
    """Resolution to output channels of the blocks whose weights match."""
    matches = {name: re.fullmatch(pattern, name) for name in shapes}
    return {int(match[1]): shapes[name][0] for name, match in matches.items() if match}


def _layers(shapes: Shapes, mapping: str) -> int:
    return sum(bool(re.fullmatch(rf"{re.escape(mapping)}\.fc\d+\.weight", name)) for name in shapes)


def expected_shapes(settings: Network) -> tuple[Shapes, Shapes]:
    """Names and shapes of the tensors of generator and discriminators; no memory is taken, no body needed."""
    with torch.device("meta"):
        discriminators = Discriminators(settings)
    return generator_shapes(settings), shapes_of(discriminators.state_dict())


def settings_from_options(generator: Any, discriminator: Any, image_resolution: int, source: str) -> dict[str, Any]:
    """Settings (of ag3d.config.Network) that no tensor tells. Raises UserError where the network is not AG3D's."""
    state, discriminator_state = attributes(generator), attributes(discriminator)
    for name, value in _NEEDED.items():
        stated = _rendering(state, name)
        if stated is not None and stated != value:
            raise UserError(
                f"{source} was trained with {name} = {stated!r:.40}; only networks with {value} can be read"
            )
    settings: dict[str, Any] = {}
    for name in (*_SAMPLES, *_LENGTHS):
        value = _rendering(state, name)
        if value is None:
            continue
        if type(value) not in (int, float):
            raise UserError(f"{source} has {name} = {value!r:.40}, which is no number")
        if name in _SAMPLES and value > MOST_SAMPLES:
            raise UserError(f"{source} has {name} = {value}, more than {MOST_SAMPLES}")
        settings[name] = value if name in _SAMPLES else float(value)
    neural = option(state, "neural_rendering_resolution")
    if type(neural) is int and neural != image_resolution // 2:
        if neural > image_resolution:
            raise UserError(f"{source} has neural_rendering_resolution = {neural}, its images {image_resolution}")
        settings["neural_resolution"] = neural
    half = option(state, "_init_kwargs", "sr_num_fp16_res")
    settings["conv_clamp"] = 0.0 if half == 0 else CLAMP
    if option(state, "_init_kwargs", "num_fp16_res"):
        log.warning(
            "%s: its backbone was trained in half precision with clamped values; ours does not clamp them", source
        )
    group = option(discriminator_state, "_init_kwargs", "epilogue_kwargs", "mbstd_group_size")
    if type(group) is int:
        settings["mbstd_group_size"] = group
    return settings


def _rendering(state: dict[str, Any], name: str) -> Any:
    """A rendering option: as last set, else as first given."""
    last = option(state, "rendering_kwargs", name)
    return option(state, "_init_kwargs", "rendering_kwargs", name) if last is None else last
