"""How a new network begins: from the body, plainly rendered, rather than from noise."""

from __future__ import annotations

import torch

from ag3d.model.generator import Generator

QUIET = 0.1


@torch.no_grad()
def quiet(generator: Generator) -> None:
    """Let the super-resolution begin by enlarging the rendering.

    At the usual random start its own colours hide the rendering and stain the white background, and the first
    hundreds of thousands of images are spent on unlearning them.
    """
    for block in (generator.superresolution.block0, generator.superresolution.block1):
        block.torgb.weight.mul_(QUIET)
