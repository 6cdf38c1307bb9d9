"""Smooth random functions of position, cheap enough for every pixel."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import torch
import torch.nn.functional as F

_SIZE = 24


@functools.lru_cache(maxsize=4)
def _lattice(kind: int) -> torch.Tensor:
    """[1,1,S+1,S+1,S+1] in [-1,1], periodic."""
    values = torch.rand(_SIZE, _SIZE, _SIZE, generator=torch.Generator().manual_seed(kind)) * 2 - 1
    for axis in range(3):
        values = torch.cat([values, values.narrow(axis, 0, 1)], dim=axis)
    return values[None, None]


def noise3(p: torch.Tensor, frequency: tuple[float, float, float] | float, seed: int) -> torch.Tensor:
    """Value noise [n] in about [-1,1] at points [n,3] (metres); `frequency` in cells per metre, per axis."""
    scale = torch.as_tensor(frequency, dtype=torch.float32).expand(3)
    shift = torch.as_tensor(np.random.default_rng(seed).uniform(0, _SIZE, 3), dtype=torch.float32)
    q = torch.remainder(p * scale + shift, _SIZE)
    cell = q.floor()
    t = q - cell
    q = cell + t * t * (3 - 2 * t)  # smooth steps between the lattice's points
    grid = (q / _SIZE * 2 - 1)[None, None, None]
    return F.grid_sample(_lattice(seed % 4), grid, mode="bilinear", align_corners=True)[0, 0, 0, 0]


def noise2(height: int, width: int, cells: float, rng: np.random.Generator, octaves: int = 1) -> np.ndarray:
    """Smooth noise [H,W] in about [-1,1]; `cells` features across the longer side."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        n = max(2, int(cells * 2**octave * width / max(height, width))) + 2
        m = max(2, int(cells * 2**octave * height / max(height, width))) + 2
        coarse = rng.uniform(-1, 1, (m, n)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    return total
