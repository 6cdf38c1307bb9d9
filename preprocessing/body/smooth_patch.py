"""Smoothing a patch of a mesh from its surroundings, linearly, so that it holds for every shape of a shape space.

The open body is shown to everyone; anatomical detail that clothes cover has no place on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Vertices of MakeHuman's base mesh in the middle of the two patches on the chest, and their radius (metres).
CHEST = (8465, 1793)
RADIUS = 0.025


@dataclass(frozen=True)
class Patch:
    """`inside` [k] become `share` [k] parts of `matrix` [k,m] times `around` [m]; both index vertices."""

    inside: np.ndarray
    around: np.ndarray
    matrix: np.ndarray
    share: np.ndarray

    def apply(self, vertices: np.ndarray) -> None:
        """Smooth vertices [S,n,3] in place."""
        smooth = np.einsum("km,smc->skc", self.matrix, vertices[:, self.around])
        vertices[:, self.inside] += self.share[:, None] * (smooth - vertices[:, self.inside])


def patch(vertices: np.ndarray, middle: int, radius: float) -> Patch:
    """The patch of `vertices` [n,3] within `radius` of the vertex `middle`.

    It takes the cubic surface over its tangent plane that fits the ring between one and two radii best; over the outer
    third the original shape takes over.
    """
    offset = vertices - vertices[middle]
    distance = np.linalg.norm(offset, axis=1)
    inside, around = np.flatnonzero(distance < radius), np.flatnonzero((distance >= radius) & (distance < 2 * radius))
    plane = np.linalg.svd(offset[around] - offset[around].mean(axis=0), full_matrices=False)[2][:2]

    def terms(index: np.ndarray) -> np.ndarray:
        u, v = (offset[index] @ plane.T / radius).T
        return np.stack([u**i * v**j for i in range(4) for j in range(4 - i)], axis=1)

    ramp = np.clip((radius - distance[inside]) / (radius / 3), 0, 1)
    return Patch(inside, around, terms(inside) @ np.linalg.pinv(terms(around)), ramp**2 * (3 - 2 * ramp))
