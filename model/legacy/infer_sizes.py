"""Which network a set of released tensors is: our settings from their names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ag3d.config import Network
from ag3d.core.errors import UserError
from ag3d.model.networks.backbone import Backbone
from ag3d.model.networks.decoder import Decoder
from ag3d.model.networks.discriminator import Discriminators
from ag3d.model.networks.superresolution import SuperResolution
from ag3d.model.rendering.renderer import Renderer

Shapes = Mapping[str, tuple[int, ...]]


def sizes(generator: Shapes, discriminator: Shapes) -> dict[str, Any]:
    """Settings (of ag3d.config.Network) that the shapes tell. Raises KeyError or IndexError where tensors are missing."""
    hidden, planes = generator["decoder.net.0.weight"]
    w_dim = generator["backbone.mapping.embed.weight"][0]
    blocks = _widths(generator, r"backbone\.synthesis\.b(\d+)\.conv1\.weight")
    widths = [*blocks.items(), *_widths(discriminator, r"D_\w+\.b(\d+)\.conv0\.weight").items()]
    highest = max(width for _, width in widths)
    narrow = [side * width for side, width in widths if width < highest]
    found: dict[str, Any] = {
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
        found |= {
            "discriminator_mapping_layers": _layers(discriminator, "D_image.mapping"),
            "use_normal_discriminator": "D_normal.b4.out.weight" in discriminator,
            "use_face_discriminator": "D_face_image.b4.out.weight" in discriminator,
            "face_fraction": found["image_resolution"] // face,
        }
    return found


def _widths(shapes: Shapes, pattern: str) -> dict[int, int]:
    """Resolution to output channels of the blocks whose weights match."""
    matches = {name: re.fullmatch(pattern, name) for name in shapes}
    return {int(match[1]): shapes[name][0] for name, match in matches.items() if match}


def _layers(shapes: Shapes, mapping: str) -> int:
    return sum(bool(re.fullmatch(rf"{re.escape(mapping)}\.fc\d+\.weight", name)) for name in shapes)


def expected(settings: Network) -> tuple[Shapes, Shapes]:
    """Names and shapes of the tensors of generator and discriminators; no memory is taken, no body needed."""
    with torch.device("meta"):
        generator = nn.ModuleDict(
            {
                "renderer": Renderer(settings),
                "backbone": Backbone(settings),
                "decoder": Decoder(settings.plane_channels, settings.decoder_hidden, settings.plane_channels),
                "superresolution": SuperResolution(settings, settings.image_resolution // 2),
            }
        )
        discriminators = Discriminators(settings)
    return _shapes(generator), _shapes(discriminators)


def _shapes(module: nn.Module) -> Shapes:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def check_shapes(found: Shapes, wanted: Shapes, source: str) -> None:
    """Raises UserError naming the first tensors that are missing, surplus or of another shape."""
    missing, surplus = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or surplus:
        raise UserError(
            f"{source} is of another network than AG3D's: missing {missing[:3]}, not expected {surplus[:3]} "
            "(first three of each)"
        )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise UserError(
                f"{source} is of another network than AG3D's: {name} is {list(found[name])}, expected {list(shape)}"
            )
