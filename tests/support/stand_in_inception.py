"""Files of the layouts that Inception's weights come in, with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from ag3d.evaluation.metrics.inception_network import conv_names, convolutions, layers


class Normalised(nn.Module):
    """A convolution with the normalisation behind it, as the network of TensorFlow's graph has it."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        c = convolution
        self.conv = nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, bias=False)
        self.bn = nn.BatchNorm2d(c.out_channels, eps=0.001)
        nn.init.kaiming_normal_(self.conv.weight)
        nn.init.normal_(self.bn.running_mean, std=0.1)
        nn.init.uniform_(self.bn.running_var, 0.5, 2.0)
        nn.init.uniform_(self.bn.weight, 0.8, 1.5)
        nn.init.normal_(self.bn.bias, std=0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x)).relu()


class Block(nn.Module):
    """A block of the graph by its convolutions' names in there; the ways' ends are joined in the order of the names."""

    def __init__(self, kind: str, parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.kind = kind
        for name, part in parts.items():
            self.add_module(name, part)


class Narrow(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        third = self.tower_1_conv_2(self.tower_1_conv_1(self.tower_1_conv(x)))
        return torch.cat([self.conv(x), self.tower_conv_1(self.tower_conv(x)), third, self.tower_2_conv(pooled)], 1)


class Half(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        second = self.tower_conv_2(self.tower_conv_1(self.tower_conv(x)))
        return torch.cat([self.conv(x), second, nn.functional.max_pool2d(x, 3, 2)], 1)


class Middle(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        second = self.tower_conv_2(self.tower_conv_1(self.tower_conv(x)))
        third = self.tower_1_conv_2(self.tower_1_conv_1(self.tower_1_conv(x)))
        third = self.tower_1_conv_4(self.tower_1_conv_3(third))
        return torch.cat([self.conv(x), second, third, self.tower_2_conv(pooled)], 1)


class Quarter(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        second = self.tower_1_conv_1(self.tower_1_conv(x))
        second = self.tower_1_conv_3(self.tower_1_conv_2(second))
        return torch.cat([self.tower_conv_1(self.tower_conv(x)), second, nn.functional.max_pool2d(x, 3, 2)], 1)


class Wide(Block):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "mixed_10":
            pooled = nn.functional.max_pool2d(x, 3, 1, 1)
        else:
            pooled = nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        a, b = self.tower_conv(x), self.tower_1_conv_1(self.tower_1_conv(x))
        second = torch.cat([self.tower_mixed_conv(a), self.tower_mixed_conv_1(a)], 1)
        third = torch.cat([self.tower_1_mixed_conv(b), self.tower_1_mixed_conv_1(b)], 1)
        return torch.cat([self.conv(x), second, third, self.tower_2_conv(pooled)], 1)


BLOCKS = {3: Half, 8: Quarter} | dict.fromkeys(range(3), Narrow) | dict.fromkeys(range(4, 8), Middle)


class Layers(nn.Module):
    """299×299 pixels in -1 … 1 to 2048 features."""

    def __init__(self) -> None:
        super().__init__()
        parts: dict[str, dict[str, nn.Module]] = {}
        for (_, name), convolution in zip(conv_names(), convolutions(layers()), strict=True):
            words = name.split("_")
            count = 0 if words[0] == "conv" else 2 if len(words) > 1 and words[1].isdigit() else 1
            parts.setdefault("_".join(words[:count]), {})["_".join(words[count:])] = Normalised(convolution)
        for name, part in parts.pop("").items():
            self.add_module(name, part)
        for number, (name, of_block) in enumerate(parts.items()):
            self.add_module(name, BLOCKS.get(number, Wide)(name, of_block))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.conv_2(self.conv_1(self.conv(x))), 3, 2)
        x = nn.functional.max_pool2d(self.conv_4(self.conv_3(x)), 3, 2)
        x = self.mixed_3(self.mixed_2(self.mixed_1(self.mixed(x))))
        x = self.mixed_7(self.mixed_6(self.mixed_5(self.mixed_4(x))))
        return self.mixed_10(self.mixed_9(self.mixed_8(x))).mean((2, 3))


class StandIn(nn.Module):
    """Resizes by itself, like the TensorFlow network, and has a classifier that nobody asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = Layers()
        self.output = nn.Linear(2048, 10)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        """Bilinear without half a pixel's shift: what F.interpolate has no mode for."""
        grid = nn.functional.affine_grid(torch.eye(2, 3).unsqueeze(0), [1, 3, 299, 299], align_corners=False)
        grid = grid + torch.tensor([1 / x.shape[3] - 1 / 299, 1 / x.shape[2] - 1 / 299])
        grid = grid.expand(x.shape[0], -1, -1, -1)
        x = nn.functional.grid_sample(x.to(torch.float32), grid, padding_mode="border", align_corners=False)
        features = self.layers((x - 128) / 128)
        return features if return_features else self.output(features)


class Writer(nn.Module):
    """A program that writes a file."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        torch.save(x, "written.bin")  # type: ignore[arg-type]
        return x


class Other(nn.Module):
    """Some other image network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


def save(module: nn.Module, folder: Path) -> Path:
    """Write the module as folder/inception-2015-12-05.pt."""
    path = folder / "inception-2015-12-05.pt"
    torch.jit.script(module.eval()).save(str(path))
    return path


def state_dict() -> dict[str, torch.Tensor]:
    """Random weights under the names of torchvision's network, which pytorch-fid's file has, too."""
    state = {}
    for (name, _), convolution in zip(conv_names(), convolutions(layers()), strict=True):
        block, _, rest = name.partition("_branch")
        place = f"{block}.branch{rest}" if rest else name
        state |= {f"{place}.{key}": value for key, value in Normalised(convolution).state_dict().items()}
    return state | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
