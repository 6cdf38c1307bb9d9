"""A prior that the clothed surface is near the body's: without it, short trainings wear limbs away."""

from __future__ import annotations

import torch

from ag3d.model.generator import Generator

POINTS = 1000
SPREAD = 0.05  # metres, of the points around the body's surface
SCALE = 0.05  # metres: a residual that counts as one


def residual(generator: Generator, ws: torch.Tensor, planes: torch.Tensor | None = None) -> torch.Tensor:
    """Mean of (residual / 0.05 m)² at random points around the canonical body's vertices."""
    vertices = generator.deformer.vertices
    chosen = torch.randint(len(vertices), (len(ws), POINTS), device=ws.device)
    points = vertices[chosen] + SPREAD * torch.randn(len(ws), POINTS, 3, device=ws.device)
    distance, _ = generator.deformer.body_distance(points.reshape(-1, 3), gradient=False)
    signed = generator.field(points, ws, planes=planes, shown=False)["sdf"]
    return ((signed - distance.view_as(signed)) / SCALE).square().mean()
