"""Untrained networks whose people can be seen, whatever their random weights."""

from __future__ import annotations

import torch

from ag3d.model.generator import Generator
from ag3d.model.ops.triplane import gather, stencil, texel_table

CLOTHES = 0.015, 0.004  # metres: mean and deviation of the residual
COLORS = 0.0, 1.5  # before the sigmoid


@torch.no_grad()
def dress(generator: Generator, ws: torch.Tensor) -> None:
    """Give the decoder's outputs these means and deviations over the bodies of the people `ws`.

    Most random weights leave the tests' body without arms, which hang on it by a few millimetres, or everybody of one colour.
    """
    points = generator.deformer.vertices / (generator.settings.box_warp / 2)
    person = torch.arange(len(ws)).repeat_interleave(len(points))
    drawn = texel_table(generator.planes(ws))
    at = stencil(points.repeat(len(ws), 1), person, drawn.side)
    found = generator.decoder.net(gather(drawn.rows, at, at.weights()))
    mean, deviation = torch.tensor([CLOTHES, *[COLORS] * (found.shape[1] - 1)]).unbind(1)
    last = generator.decoder.layers[1]
    scale = deviation / found.std(0)
    last.weight *= scale[:, None]
    last.bias.copy_((last.bias - found.mean(0)) * scale + mean)
