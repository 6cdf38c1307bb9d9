"""Motions as commands and settings name them."""

from __future__ import annotations

from ag3d.model.avatars.fits_to_motion import is_fits, read_fits
from ag3d.model.avatars.motion import Motion, read_motion
from ag3d.model.avatars.procedural_motion import BUILT_IN, built_in

NAMES = "walk, wave, a motion file (.npz: SMPL, SMPL-H, SMPL-X), or fits of a video (results/DATA/fits#VIDEO)"


def named_motion(name: str) -> Motion:
    """A built-in motion, a motion file (AMASS), or the pipeline's fits of a video. Raises UserError."""
    if name in BUILT_IN:
        return built_in(name)
    return read_fits(name) if is_fits(name) else read_motion(name)
