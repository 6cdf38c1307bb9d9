"""Inception v3 (Szegedy et al. 2016) up to its 2048 features, as TensorFlow's model of 2015-12-05 has it: FID's network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn

SIDE, DIMENSIONS = 299, 2048

# Block to the names of its convolutions, in the order of `layers`: torchvision's, and those of TensorFlow's graph.
_KINDS = {
    "narrow": (
        "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3 branch_pool",
        "conv tower_conv tower_conv_1 tower_1_conv tower_1_conv_1 tower_1_conv_2 tower_2_conv",
    ),
    "half": ("branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3", "conv tower_conv tower_conv_1 tower_conv_2"),
    "middle": (
        "branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 "
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5 branch_pool",
        "conv tower_conv tower_conv_1 tower_conv_2 "
        "tower_1_conv tower_1_conv_1 tower_1_conv_2 tower_1_conv_3 tower_1_conv_4 tower_2_conv",
    ),
    "quarter": (
        "branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 branch7x7x3_4",
        "tower_conv tower_conv_1 tower_1_conv tower_1_conv_1 tower_1_conv_2 tower_1_conv_3",
    ),
    "wide": (
        "branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b "
        "branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3a branch3x3dbl_3b branch_pool",
        "conv tower_conv tower_mixed_conv tower_mixed_conv_1 "
        "tower_1_conv tower_1_conv_1 tower_1_mixed_conv tower_1_mixed_conv_1 tower_2_conv",
    ),
}
_BLOCKS = [*["narrow"] * 3, "half", *["middle"] * 4, "quarter", *["wide"] * 2]
_STEM = ("Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 Conv2d_3b_1x1 Conv2d_4a_3x3", "conv conv_1 conv_2 conv_3 conv_4")
_MIXED = (
    "Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e Mixed_7a Mixed_7b Mixed_7c",
    "mixed mixed_1 mixed_2 mixed_3 mixed_4 mixed_5 mixed_6 mixed_7 mixed_8 mixed_9 mixed_10",
)


def conv_names() -> list[tuple[str, str]]:
    """What torchvision and TensorFlow call each convolution, "_" between the parts, in the order of `layers`."""
    of_both = []
    for stem, mixed, source in zip(_STEM, _MIXED, range(2), strict=True):
        blocks = zip(mixed.split(), (_KINDS[kind][source] for kind in _BLOCKS), strict=True)
        of_both.append(
            [*stem.split(), *(f"{b}_{name}" for b, names in blocks for b, name in product([b], names.split()))]
        )
    return list(zip(*of_both, strict=True))


class Conv(nn.Sequential):
    """Convolution and ReLU; `size` is height × width, without padding where `padded` is false. The normalisation behind
    the convolution is part of its weights."""

    def __init__(
        self, inner: int, outer: int, size: tuple[int, int] = (1, 1), stride: int = 1, padded: bool = True
    ) -> None:
        padding = (size[0] // 2, size[1] // 2) if padded else (0, 0)
        super().__init__(nn.Conv2d(inner, outer, size, stride, padding), nn.ReLU())


class Branches(nn.Module):
    """Several ways side by side, their channels one after another."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([way(x) for way in self.ways], 1)


def _average() -> nn.Module:
    """TensorFlow's: what lies outside the picture does not count."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _narrow(inner: int, pooled: int) -> Branches:
    """35 × 35."""
    return Branches(
        Conv(inner, 64),
        nn.Sequential(Conv(inner, 48), Conv(48, 64, (5, 5))),
        nn.Sequential(Conv(inner, 64), Conv(64, 96, (3, 3)), Conv(96, 96, (3, 3))),
        nn.Sequential(_average(), Conv(inner, pooled)),
    )


def _half() -> Branches:
    """35 × 35 to 17 × 17."""
    return Branches(
        Conv(288, 384, (3, 3), 2, False),
        nn.Sequential(Conv(288, 64), Conv(64, 96, (3, 3)), Conv(96, 96, (3, 3), 2, False)),
        nn.MaxPool2d(3, 2),
    )


def _middle(c: int) -> Branches:
    """17 × 17, 768 channels; 7 × 7 in two steps."""
    row, column = (1, 7), (7, 1)
    return Branches(
        Conv(768, 192),
        nn.Sequential(Conv(768, c), Conv(c, c, row), Conv(c, 192, column)),
        nn.Sequential(Conv(768, c), Conv(c, c, column), Conv(c, c, row), Conv(c, c, column), Conv(c, 192, row)),
        nn.Sequential(_average(), Conv(768, 192)),
    )


def _quarter() -> Branches:
    """17 × 17 to 8 × 8."""
    last = Conv(192, 192, (3, 3), 2, False)
    return Branches(
        nn.Sequential(Conv(768, 192), Conv(192, 320, (3, 3), 2, False)),
        nn.Sequential(Conv(768, 192), Conv(192, 192, (1, 7)), Conv(192, 192, (7, 1)), last),
        nn.MaxPool2d(3, 2),
    )


def _wide(inner: int, pool: nn.Module) -> Branches:
    """8 × 8."""
    split = [Branches(Conv(384, 384, (1, 3)), Conv(384, 384, (3, 1))) for _ in range(2)]
    return Branches(
        Conv(inner, 320),
        nn.Sequential(Conv(inner, 384), split[0]),
        nn.Sequential(Conv(inner, 448), Conv(448, 384, (3, 3)), split[1]),
        nn.Sequential(pool, Conv(inner, 192)),
    )


def layers() -> nn.Sequential:
    """[B,3,299,299] in -1 … 1 to [B,2048]. The last block pools by maximum, where the paper averages."""
    stem = [Conv(3, 32, (3, 3), 2, False), Conv(32, 32, (3, 3), 1, False), Conv(32, 64, (3, 3)), nn.MaxPool2d(3, 2)]
    stem += [Conv(64, 80), Conv(80, 192, (3, 3), 1, False), nn.MaxPool2d(3, 2)]
    blocks = [_narrow(192, 32), _narrow(256, 64), _narrow(288, 64), _half()]
    blocks += [_middle(128), _middle(160), _middle(160), _middle(192), _quarter()]
    blocks += [_wide(1280, _average()), _wide(2048, nn.MaxPool2d(3, 1, 1))]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def convolutions(network: nn.Module) -> Sequence[nn.Conv2d]:
    """All of them, in the order of `conv_names`."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def resize_tensorflow(images: Tensor) -> Tensor:
    """[B,C,H,W] to [B,C,299,299] as TensorFlow 1 does: bilinear, the first pixel of the one on the first of the other."""
    for dimension in (2, 3):
        size = images.shape[dimension]
        place = torch.arange(SIDE, device=images.device, dtype=torch.float32) * (size / SIDE)
        below = place.long().clamp(max=size - 1)
        share = (place - below).reshape((-1, 1) if dimension == 2 else (-1,))
        first, second = (images.index_select(dimension, k) for k in (below, (below + 1).clamp(max=size - 1)))
        images = torch.lerp(first, second, share)
    return images
