"""Our network for normals: from a crop and the fitted body's front normals to the normals of the clothed person.

A small U-Net. That the body's normals go in beside the picture is ICON's idea (Xiu et al., CVPR 2022, section 3.1).
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ag3d.core.errors import UserError
from ag3d.core.files import read_object, write_json
from ag3d.core.resize import resize
from ag3d.model.checkpoint import check_shapes, load_weights, read_weights, save_weights, shapes_of
from ag3d.preprocessing.normals.inpainting import unit

FORMAT = "ag3d normal network 1"
GROUPS = 8  # of a layer's channels, which are normalised together
LARGEST, MOST_LEVELS = 4096, 8  # of a card's widths and side; of its levels
WIDTHS = (32, 64, 96, 128, 160)
STEP = 2 * 2 ** (len(WIDTHS) - 1)  # sides must be multiples of this


class NormalNetwork(nn.Module):
    """Inputs: crop, alpha, body; output: unit normals [B,3,H,W] (x right, y up, z to the viewer)."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        sizes = [4 * 7, *self.widths]
        self.down = nn.ModuleList(_block(a, b) for a, b in itertools.pairwise(sizes))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in itertools.pairwise(self.widths))
        self.head = nn.Conv2d(self.widths[0], 4 * 3, 1)
        with torch.no_grad():  # the body's normals are the first guess
            for parameter in self.head.parameters():
                parameter.mul_(0.1)

    def forward(self, crop: Tensor, alpha: Tensor, body: Tensor) -> Tensor:
        """crop [B,3,H,W] in [-1,1] on white; alpha [B,1,H,W] in [0,1]; body [B,3,H,W], zero where no body is seen.
        H and W are multiples of STEP."""
        x = F.pixel_unshuffle(torch.cat([crop, 2 * alpha - 1, body], 1), 2)
        skips = []
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1])):
            x = block(torch.cat([skip, F.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        change = F.pixel_shuffle(self.head(x), 2).float()
        start = torch.cat([body[:, :2], body[:, 2:] + 0.1], 1).float()  # without a body: towards the viewer
        return F.normalize(start + change, dim=1)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    def layer(channels: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, outputs),
            nn.SiLU(inplace=True),
        ]

    return nn.Sequential(*layer(inputs), *layer(outputs))


class UNetBackend:
    """`backend(crop, normals, covered)`: unit normals [H,W,3] of an aligned crop (uint8 RGBA [H,W,4])."""

    def __init__(self, weights: Path, device: torch.device | str = "cpu") -> None:
        """Raises UserError about the weights."""
        self.network, card = load(weights)
        self.network.to(device)
        self.device = device
        self.largest = int(card["side"])

    @torch.no_grad()
    def __call__(self, crop: np.ndarray, normals: np.ndarray, covered: np.ndarray) -> np.ndarray:
        side = min(len(crop), self.largest)  # larger crops show more than it was trained on
        share = crop[..., 3:].astype(np.float32) / 255
        picture = crop[..., :3] * (share / 127.5) + (2 * (1 - share) - 1)
        body = np.where(covered[..., None], normals, 0).astype(np.float32)
        parts = [resize(part, (side, side)) for part in (picture, share, body)]
        inputs = [torch.from_numpy(np.atleast_3d(part)).permute(2, 0, 1)[None].to(self.device) for part in parts]
        out = self.network(*pad(*inputs))[0, :, :side, :side].permute(1, 2, 0).cpu().numpy()
        return unit(resize(out, crop.shape[1::-1]))


def pad(crop: Tensor, alpha: Tensor, body: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network's inputs with sides that it takes: background to the right and below."""
    right, below = (-crop.shape[-1]) % STEP, (-crop.shape[-2]) % STEP
    margin = (0, right, 0, below)
    return F.pad(crop, margin, value=1.0), F.pad(alpha, margin), F.pad(body, margin)


def save(network: NormalNetwork, card: dict[str, Any], path: Path) -> None:
    """Write the weights in half precision, and beside them their card (.json)."""
    save_weights(network, path, half=True)
    write_json(path.with_suffix(".json"), {"format": FORMAT, "widths": list(network.widths), **card})


def load(path: Path) -> tuple[NormalNetwork, dict[str, Any]]:
    """The network, ready for use, and its card. Raises UserError where a file is missing or of another kind."""
    card = read_object(path.with_suffix(".json"))
    widths = card.get("widths")
    if card.get("format") != FORMAT or not isinstance(widths, list) or not 2 <= len(widths) <= MOST_LEVELS:
        raise UserError(f"{path.with_suffix('.json')} is no card of a normal network ('{FORMAT}'); train it anew")
    for name, number in [("side", card.get("side")), *(("widths", width) for width in widths)]:
        if type(number) is not int or not GROUPS <= number <= LARGEST or (name == "widths" and number % GROUPS):
            raise UserError(f"{path.with_suffix('.json')}: '{name}' cannot be {number}; train the network anew")
    state = read_weights(path)
    with torch.device("meta"):  # no memory is taken before the sizes are known to be those of the weights
        wanted = shapes_of(NormalNetwork(tuple(widths)).state_dict())
    check_shapes(shapes_of(state), wanted, str(path))
    network = NormalNetwork(tuple(widths))
    load_weights(network, state, str(path))
    return network.eval(), card
