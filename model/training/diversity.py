"""Keeps different latent codes apart while the discriminators are young.

What the mode-seeking loss does (Mao et al., CVPR 2019), here for colours on the canonical body, where a pose changes nothing.
"""

from __future__ import annotations

import torch

from ag3d.model.field.posed_field import residual
from ag3d.model.field.triplane import table
from ag3d.model.generator import Generator

POINTS = 1000
LEAST = 0.01  # a difference of colours, which are in [0,1], below which the loss hardly grows


def differences(generator: Generator, planes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference [B] of colours between planes [B,3,C,P,P] and others, at random vertices of the canonical body."""
    vertices = generator.deformer.vertices
    count = len(planes)
    points = vertices[torch.randint(len(vertices), (count, POINTS), device=planes.device)].flatten(0, 1)
    points = points / (generator.settings.box_warp / 2)
    place = torch.arange(count, device=planes.device).repeat_interleave(POINTS)
    first, second = (
        residual(table(each), points, place, generator.decoder, gradient=False).color[:, :3]
        for each in (planes, others)
    )
    return (first - second).abs().view(count, -1).mean(dim=1)


def alike(generator: Generator, planes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """-log of those differences, [B]."""
    return -torch.log(differences(generator, planes, others) + LEAST)
