"""Prints on cloth."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ag3d.preprocessing.synthetic.noise import noise3
from ag3d.preprocessing.synthetic.outfits import Fabric

_LETTERS = ("SUMMER", "1984", "NORTH", "BLUE", "RIVER", "07", "STUDIO", "ONE")


def cloth_coordinates(p: torch.Tensor, skirt: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Around (u) and along (v) torso, arm or leg, in metres, for canonical points [n,3]."""
    x, y, z = p.unbind(1)
    arm = (x.abs() > 0.19) & (y > 0.25)
    around_arm = torch.atan2(y - 0.442, z - 0.011) * 0.055
    around_body = torch.atan2(x, z) * 0.15
    u = torch.where(arm, around_arm, around_body)
    v = torch.where(arm, x.abs(), y)
    if not skirt:
        leg = y < -0.08
        u = torch.where(leg, torch.atan2(x.abs() - 0.13, z + 0.01) * 0.08, u)
    return u, v


def _soft(value: torch.Tensor, width: float = 0.12) -> torch.Tensor:
    """A smooth step at 0."""
    return (value / width + 0.5).clamp(0, 1)


def print_on(p: torch.Tensor, u: torch.Tensor, v: torch.Tensor, fabric: Fabric, seed: int) -> torch.Tensor:
    """Colours [n,3] (sRGB) of a fabric."""
    first, second = (torch.tensor(c, dtype=torch.float32) for c in (fabric.colour, fabric.second))
    base = first.expand(len(p), 3)
    a, b = u / fabric.scale, v / fabric.scale
    if fabric.pattern == "stripes":
        wave = torch.sin(2 * torch.pi * ((b if fabric.phase < 0.7 else a) + fabric.phase))
        share = _soft(wave - 1.2 * (fabric.phase - 0.4))
    elif fabric.pattern == "checks":
        across, down = (_soft(torch.sin(2 * torch.pi * k * 0.6)) for k in (a, b))
        share = 0.5 * (across + down)
    elif fabric.pattern == "dots":
        row = torch.floor(b)
        i, j = torch.remainder(a + 0.5 * torch.remainder(row, 2), 1) - 0.5, torch.remainder(b, 1) - 0.5
        share = _soft(0.22 + 0.08 * fabric.phase - (i**2 + j**2).sqrt(), 0.06)
    elif fabric.pattern == "mottled":
        share = _soft(noise3(p, 0.5 / fabric.scale, seed) + 0.5 * noise3(p, 1.2 / fabric.scale, seed + 1), 0.9)
    elif fabric.pattern == "flowers":
        return _flowers(base, a, b, second, seed)
    elif fabric.pattern == "logo":
        return _logo(base, p, second, fabric, seed)
    else:
        share = 0.04 * noise3(p, 30.0, seed)
    return base + (second - base) * share[:, None]


def _flowers(base: torch.Tensor, a: torch.Tensor, b: torch.Tensor, second: torch.Tensor, seed: int) -> torch.Tensor:
    """Blossoms of five petals, one in each cell of a jittered grid."""
    a, b = a * 0.7, b * 0.7
    i, j = torch.floor(a), torch.floor(b)
    random = torch.frac(torch.sin(i * 127.1 + j * 311.7 + seed % 97) * 43758.5)
    random2 = torch.frac(torch.sin(i * 269.5 + j * 183.3 + seed % 89) * 43758.5)
    x, y = a - i - 0.3 - 0.4 * random.abs(), b - j - 0.3 - 0.4 * random2.abs()
    radius, angle = (x**2 + y**2).sqrt(), torch.atan2(y, x) + 6 * random
    petal = _soft(0.2 + 0.08 * torch.cos(5 * angle) + 0.06 * random2 - radius, 0.04)
    out = base + (second - base) * petal[:, None]
    centre = _soft(0.07 - radius, 0.03)
    return out + (torch.tensor([0.95, 0.8, 0.3]) - out) * centre[:, None]


def _logo(base: torch.Tensor, p: torch.Tensor, second: torch.Tensor, fabric: Fabric, seed: int) -> torch.Tensor:
    """A word or a sign printed on the chest."""
    rng = np.random.default_rng(seed)
    stamp = np.zeros((128, 256), np.uint8)
    if rng.random() < 0.6:
        text = str(rng.choice(_LETTERS))
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 2.0, 6)
        cv2.putText(stamp, text, (128 - w // 2, 64 + h // 2), cv2.FONT_HERSHEY_DUPLEX, 2.0, 255, 6, cv2.LINE_AA)
    else:
        cv2.circle(stamp, (128, 64), 52, 255, -1, cv2.LINE_AA)
        points = np.array(
            [[128 + 40 * np.sin(t), 64 - 40 * np.cos(t)] for t in np.linspace(0, 4 * np.pi, 6)[:-1]], np.int32
        )
        cv2.fillPoly(stamp, [points], 0, cv2.LINE_AA)
    width = 0.1 + 0.06 * fabric.phase
    column = ((p[:, 0] / width * 0.5 + 0.5) * 255).round().long()
    row = ((0.34 - p[:, 1]) / width * 255 * 0.5 + 64).round().long()
    ok = (column >= 0) & (column < 256) & (row >= 0) & (row < 128) & (p[:, 2] > 0)
    share = torch.zeros(len(p))
    share[ok] = torch.as_tensor(stamp)[row[ok], column[ok]].float() / 255
    return base + (second - base) * 0.92 * share[:, None]
