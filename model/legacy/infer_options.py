"""What a released checkpoint says about itself beyond its tensors: sampling, bounds, and what we could not follow."""

from __future__ import annotations

from typing import Any

from ag3d.core.console import log
from ag3d.core.errors import UserError
from ag3d.model.legacy.key_map import attributes, option

CLAMP = 256.0
MOST_SAMPLES = 1024
_SAMPLES = ("depth_resolution", "depth_resolution_importance")
_LENGTHS = ("ray_start", "ray_end", "box_warp")
# What every released network has; with another value it is a network that this package does not have.
_NEEDED = {"c_gen_conditioning_zero": True, "is_sdf": True, "white_back": True, "decoder_lr_mul": 1}


def settings(generator: Any, discriminator: Any, image_resolution: int, source: str) -> dict[str, Any]:
    """Settings (of ag3d.config.Network) that no tensor tells. Raises UserError where the network is not AG3D's."""
    state, judge = attributes(generator), attributes(discriminator)
    for name, value in _NEEDED.items():
        stated = _rendering(state, name)
        if stated is not None and stated != value:
            raise UserError(
                f"{source} was trained with {name} = {stated!r:.40}; only networks with {value} can be read"
            )
    found: dict[str, Any] = {}
    for name in (*_SAMPLES, *_LENGTHS):
        value = _rendering(state, name)
        if value is None:
            continue
        if type(value) not in (int, float):
            raise UserError(f"{source} has {name} = {value!r:.40}, which is no number")
        if name in _SAMPLES and value > MOST_SAMPLES:
            raise UserError(f"{source} has {name} = {value}, more than {MOST_SAMPLES}")
        found[name] = value if name in _SAMPLES else float(value)
    neural = option(state, "neural_rendering_resolution")
    if type(neural) is int and neural != image_resolution // 2:
        if neural > image_resolution:
            raise UserError(f"{source} has neural_rendering_resolution = {neural}, its images {image_resolution}")
        found["neural_resolution"] = neural
    half = option(state, "_init_kwargs", "sr_num_fp16_res")
    found["conv_clamp"] = 0.0 if half == 0 else CLAMP
    if option(state, "_init_kwargs", "num_fp16_res"):
        log.warning(
            "%s: its backbone was trained in half precision with clamped values; ours does not clamp them", source
        )
    group = option(judge, "_init_kwargs", "epilogue_kwargs", "mbstd_group_size")
    if type(group) is int:
        found["mbstd_group_size"] = group
    return found


def _rendering(state: dict[str, Any], name: str) -> Any:
    """A rendering option: as last set, else as first given."""
    last = option(state, "rendering_kwargs", name)
    return option(state, "_init_kwargs", "rendering_kwargs", name) if last is None else last
