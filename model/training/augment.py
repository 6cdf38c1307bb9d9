"""Transformations of what the discriminators see, for few photographs (adaptive augmentation, StyleGAN2-ADA).

Real and generated people are transformed alike, and all pictures of a person together: image, raw rendering, normal map
with its vectors, face crops, and the label where left and right change places. Everything is differentiable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from ag3d.config import Training
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body import label as body_label
from ag3d.model.training.distributed import Processes
from ag3d.model.training.monitoring import Averages

SHIFT = 0.125  # of the image's side, at most
SCALE = 0.2  # standard deviation of log2 of the scale
TURN = math.pi / 4  # at most
BRIGHTNESS = 0.2  # standard deviation, the image being -1 ... 1
CONTRAST = 0.5  # standard deviation of log2
SATURATION = 1.0  # standard deviation of log2
INTERVAL = 4  # steps between two adjustments of the probability
MAX_P = 0.8  # transformations that come more often begin to show in the generated people
_NEAREST = math.sqrt(4 - 2 * math.sqrt(3))  # distance of the unit vectors from (1,1,1), white, is at least this
_GREY = torch.full((3, 3), 1 / 3)  # projection on the axis of greys


@dataclass
class Augmentation(TensorDataclass):
    """Transformations of B people. Directions are as seen: x right, y down in images, y up in normals."""

    flip: torch.Tensor  # [B] bool: left and right
    turn: torch.Tensor  # [B] radians, counter-clockwise
    scale: torch.Tensor  # [B]
    shift: torch.Tensor  # [B,2] x, y in units of half the side
    color: torch.Tensor  # [B,3,3] …
    light: torch.Tensor  # [B]: rgb becomes color · rgb + light

    @property
    def linear(self) -> torch.Tensor:
        """[B,2,2]: flip, then turn, then scale, of points of the image."""
        cos, sin = self.turn.cos() * self.scale, self.turn.sin() * self.scale
        sign = 1 - 2 * self.flip.to(cos.dtype)
        return torch.stack([torch.stack([cos * sign, sin], -1), torch.stack([-sin * sign, cos], -1)], 1)

    def images(self, images: torch.Tensor) -> torch.Tensor:
        """[B,3,H,W] in [-1,1], moved and coloured; white comes in from outside."""
        transformed = self._move(images)
        return torch.einsum("bij,bjhw->bihw", self.color, transformed) + self.light[:, None, None, None]

    def normals(self, normals: torch.Tensor) -> torch.Tensor:
        """Normal maps [B,3,H,W] on white, moved, their vectors flipped and turned with the picture."""
        white = 1 - self._move(normals)
        cos, sin, sign = self.turn.cos(), self.turn.sin(), 1 - 2 * self.flip.to(normals.dtype)
        zero, one = torch.zeros_like(cos), torch.ones_like(cos)
        rows = [[cos * sign, -sin, zero], [sin * sign, cos, zero], [zero, zero, one]]
        rotation = torch.stack([torch.stack(row, -1) for row in rows], 1)  # [B,3,3]
        # A pixel n·w + (1 - w) turns into R·n·w + (1 - w). Its cover w is bounded from its distance to white: exact
        # for whole pixels and for the background, and the same for real and generated people at the outline.
        cover = (white.square().sum(1, keepdim=True) + 1e-12).sqrt().div(_NEAREST).clamp(max=1)
        tilt = (1 - rotation.sum(2))[:, :, None, None]  # 1 - R·(1,1,1)
        return 1 - torch.einsum("bij,bjhw->bihw", rotation, white) - cover * tilt

    def points(self, points: torch.Tensor) -> torch.Tensor:
        """Where points [B,2] (x, y in units of the side) come to lie."""
        return (torch.einsum("bij,bj->bi", self.linear, 2 * points - 1) + self.shift + 1) / 2

    def labels(self, label: torch.Tensor) -> torch.Tensor:
        """Labels [B,111], mirrored where the picture is."""
        return torch.where(self.flip[:, None], body_label.mirror(label), label)

    def _move(self, images: torch.Tensor) -> torch.Tensor:
        inverse = self.linear.transpose(1, 2) / self.scale.square()[:, None, None]
        theta = torch.cat([inverse, -inverse @ self.shift[:, :, None]], dim=2)
        grid = F.affine_grid(theta.to(images.dtype), list(images.shape), align_corners=False)
        transformed = 1 + F.grid_sample(images - 1, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        stays = (self.scale == 1) & (self.turn == 0) & ~self.flip & (self.shift == 0).all(1)
        return torch.where(stays[:, None, None, None], images, transformed)


def sample_augmentation(batch: int, p: float, numbers: torch.Generator) -> Augmentation:
    """Transformations of `batch` people, each kind with probability `p` (the flip, as one of two, with half of it)."""
    applied = torch.rand(batch, 7, generator=numbers) < p
    uniform = torch.rand(batch, 5, generator=numbers)
    normal = torch.randn(batch, 4, generator=numbers)
    signed = uniform * 2 - 1
    zero, one = torch.zeros(batch), torch.ones(batch)

    def where(kind: int, value: torch.Tensor, otherwise: torch.Tensor) -> torch.Tensor:
        return torch.where(applied[:, kind], value, otherwise)

    contrast = where(4, torch.exp2(normal[:, 2] * CONTRAST), one)
    hue = where(5, signed[:, 4] * math.pi, zero)
    saturation = where(6, torch.exp2(normal[:, 3] * SATURATION), one)
    return Augmentation(
        flip=applied[:, 0] & (uniform[:, 0] < 0.5),
        turn=where(1, signed[:, 1] * TURN, zero),
        scale=where(2, torch.exp2(normal[:, 0] * SCALE), one),
        shift=where(3, one, zero)[:, None] * signed[:, 2:4] * (2 * SHIFT),
        color=contrast[:, None, None] * _hue(hue) @ _saturation(saturation),
        light=contrast * where(4, normal[:, 1] * BRIGHTNESS, zero),
    )


def _hue(angle: torch.Tensor) -> torch.Tensor:
    """Rotations [B,3,3] about the axis of greys."""
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    return cos * torch.eye(3) + sin * cross + (1 - cos) * _GREY


def _saturation(factor: torch.Tensor) -> torch.Tensor:
    """[B,3,3] that scale the distance from grey."""
    return torch.eye(3) + (factor - 1)[:, None, None] * (torch.eye(3) - _GREY)


class AdaptiveAugment:
    """The probability `p` of the transformations: none, fixed, or led by the share of real people that are recognised.

    Where discriminators know the photographs by heart, the mean sign of their logits nears 1: beyond `ada_target`, `p`
    rises, below it falls, at a rate that takes it from 0 to 1 in `ada_kimg`.
    """

    def __init__(self, settings: Training) -> None:
        self.settings = settings
        self.adaptive = settings.augment == "ada"
        self.p = settings.augment_p if settings.augment == "fixed" else 0.0
        self._signs = Averages()

    def sample(self, batch: int, numbers: torch.Generator) -> Augmentation | None:
        return sample_augmentation(batch, self.p, numbers) if self.p > 0 else None

    def observe(self, real: torch.Tensor) -> None:
        """Remember the signs of the real people's logits."""
        if self.adaptive:
            self._signs.add("real", real.sign())

    def update_p(self, steps: int, processes: Processes) -> None:
        """Called after every step, with the number of steps taken."""
        if not self.adaptive or steps % INTERVAL:
            return
        total, count = processes.sum_numbers([*self._signs.sums().get("real", (0.0, 0))])
        error = total / count - self.settings.ada_target
        change = self.settings.batch_size * INTERVAL / (self.settings.ada_kimg * 1000)
        self.p = min(max(self.p + math.copysign(change, error) * (error != 0), 0.0), MAX_P)
        self._signs.clear()

    def state(self) -> dict[str, object]:
        return {"p": self.p, "signs": self._signs.sums()}

    def fold(self, processes: Processes) -> None:
        """Bring together in the first process what all have noted."""
        self._signs.fold(processes)

    def restore(self, state: dict[str, Any], first: bool) -> None:
        self.p = state["p"]
        self._signs.restore(state["signs"], first)
