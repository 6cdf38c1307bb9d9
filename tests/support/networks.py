"""Sizes of networks that tests build or train in a moment."""

from __future__ import annotations

SMALL = {
    "image_resolution": 32,
    "plane_resolution": 32,
    "channel_base": 256,
    "channel_max": 8,
    "z_dim": 8,
    "w_dim": 8,
    "depth_resolution": 8,
    "depth_resolution_importance": 8,
    "sr_channels": 8,
    "face_fraction": 4,
}
TINY = {
    **SMALL,
    "depth_resolution": 6,
    "depth_resolution_importance": 6,
    "discriminator_mapping_layers": 1,
    "mbstd_group_size": 1,
}
