"""The people that the normal network is trained on, in memory, and what training does to them so that it learns more."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ag3d.core.errors import UserError
from ag3d.core.shards import RECORD, ShardReader, decode_image

SUFFIX = ".avif"  # of a person's picture
PARTS = {"colour": 3, "body": 3, "true": 3, "alpha": 1, "covered": 1, "known": 1}  # channels in this order


@dataclass
class Examples:
    """`pixels` uint8 [N,12,S,S] (PARTS); `names`: data set and identifier of each."""

    names: list[str]
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def sources(self) -> list[str]:
        """The data sets that they come from."""
        return sorted({name.split("/")[0] for name in self.names})

    def of(self, sources: Sequence[str], inside: bool = True) -> Examples:
        """Those whose data set is, or is not, one of `sources`."""
        chosen = [k for k, name in enumerate(self.names) if (name.split("/")[0] in sources) == inside]
        return Examples([self.names[k] for k in chosen], self.pixels[chosen])


def read_examples(path: Path) -> Examples:
    """All zips of a folder, or one zip, of ag3d.preprocessing.helpers_training.normal_data. Raises UserError."""
    files = sorted(path.glob("*.zip")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} holds no .zip; make one with: ag3d normals-data")
    names: list[str] = []
    pixels: list[np.ndarray] = []
    with ThreadPoolExecutor() as threads:
        for file in files:
            shard = ShardReader(file)
            people = [entry[: -len(SUFFIX)] for entry in shard.names if entry.endswith(SUFFIX)]
            entries = [(shard.read(f"{name}{SUFFIX}"), shard.read(f"{name}.png"), f"{file}:{name}") for name in people]
            pixels.extend(threads.map(lambda entry: _pixels(*entry), entries))
            names.extend(people)
    if not names:
        raise UserError(f"{path} holds no examples; make them with: ag3d normals-data (its {RECORD} tells what it is)")
    sides = {array.shape[-1] for array in pixels}
    if len(sides) > 1:
        raise UserError(
            f"{path}: examples of several sizes {sorted(sides)}; pack data sets of one alignment.resolution"
        )
    return Examples(names, torch.from_numpy(np.stack(pixels)))


def _pixels(picture: bytes, masks: bytes, where: str) -> np.ndarray:
    panels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    flags = decode_image(masks, where)
    side = len(flags)
    if panels.shape != (side, 4 * side, 3) or flags.shape != (side, side):
        raise UserError(f"{where} is not an example of the normal network; pack it again with: ag3d normals-data")
    colour, body, true, alpha = (panels[:, k * side : (k + 1) * side] for k in range(4))
    covered, known = (255 * (flags & bit > 0).astype(np.uint8) for bit in (1, 2))
    return np.dstack([colour, body, true, alpha[..., 1], covered, known]).transpose(2, 0, 1)


@dataclass
class Batch:
    """What the network sees, [B,C,S,S], and what it should say."""

    crop: Tensor  # [-1,1], on white
    alpha: Tensor  # [0,1]
    body: Tensor  # unit, zero where no body is seen
    true: Tensor  # unit
    known: Tensor  # bool [B,1,S,S]: where the answer counts


def make_batch(pixels: Tensor, random: torch.Generator | None = None) -> Batch:
    """`pixels` uint8 [B,12,S,S] on any device; with `random` (of that device) augmented."""
    parts = dict(zip(PARTS, pixels.float().split(list(PARTS.values()), 1), strict=True))
    alpha, covered, known = (parts[name] / 255 for name in ("alpha", "covered", "known"))
    colour = parts["colour"] / 255 * alpha
    body, true = ((parts[name] / 127.5 - 1) * mask for name, mask in (("body", covered), ("true", known)))
    if random is None:
        return Batch(
            2 * (colour + 1 - alpha) - 1,
            alpha,
            _unit(body, covered),
            _unit(true, known),
            (known > 0.98) & (alpha > 0.3),
        )
    flip = _uniform(random, len(pixels), 0, 1) < 0.5
    panels = torch.cat([colour, alpha, true, known, body, covered], 1)
    panels = torch.where(flip[:, None, None, None], panels.flip(3), panels)
    signs = torch.where(flip, -1.0, 1.0)[:, None, None]
    warped, angle = _warp(panels, random, zoom=0.3, shift=0.08, turn=0.2)
    colour, alpha, true, known, body, covered = warped.split([3, 1, 3, 1, 3, 1], 1)
    misfit, extra = _warp(torch.cat([body, covered], 1), random, zoom=0.02, shift=0.01, turn=0.03)
    body, covered = misfit.split([3, 1], 1)
    absent = (_uniform(random, len(pixels), 0, 1) < 0.04)[:, None, None, None]
    body, covered = torch.where(absent, 0.0, body), torch.where(absent, 0.0, covered)
    true = _rotate_normals(torch.cat([signs[:, None] * true[:, :1], true[:, 1:]], 1), angle)
    body = _rotate_normals(torch.cat([signs[:, None] * body[:, :1], body[:, 1:]], 1), angle + extra)
    crop, matte = _change_appearance(colour, alpha, random)
    return Batch(2 * crop - 1, matte, _unit(body, covered), _unit(true, known), (known > 0.98) & (matte > 0.3))


def _unit(vectors: Tensor, mask: Tensor) -> Tensor:
    return F.normalize(vectors, dim=1) * (mask > 0.5)


def _rotate_normals(vectors: Tensor, angle: Tensor) -> Tensor:
    """Normals [B,3,S,S] of pictures turned counter-clockwise by `angle` [B]."""
    c, s = angle.cos()[:, None, None], angle.sin()[:, None, None]
    x, y, z = vectors.unbind(1)
    return torch.stack([c * x - s * y, s * x + c * y, z], 1)


def _warp(images: Tensor, random: torch.Generator, zoom: float, shift: float, turn: float) -> tuple[Tensor, Tensor]:
    """`images` [B,C,S,S] magnified, shifted and turned at random, zero beyond; and the angles [B], counter-clockwise."""
    count = len(images)
    scale = torch.exp(_uniform(random, count, -zoom, zoom))
    angle = _uniform(random, count, -turn, turn)
    c, s = angle.cos() / scale, angle.sin() / scale
    dx, dy = (_uniform(random, count, -2 * shift, 2 * shift) for _ in range(2))
    # From the new picture's place (x right, y down) to the old one's.
    matrix = torch.stack([torch.stack([c, -s, dx], 1), torch.stack([s, c, dy], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False), angle


def _change_appearance(colour: Tensor, alpha: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """The crop [B,3,S,S] on white, 0 to 1, and its alpha: other mattes, light, colours, sharpness and noise.
    `colour` is premultiplied by `alpha`."""
    count = len(colour)

    def one(low: float, high: float, channels: int = 1) -> Tensor:
        return _uniform(random, count * channels, low, high).view(count, channels, 1, 1)

    picture = colour + (1 - alpha) * one(0, 1, 3)  # what a wrong matte lets through
    soft = _blurred(alpha, one(0.3, 1.6))
    matte = torch.where(one(0, 1) < 0.5, alpha, ((soft - one(0.35, 0.65)) * one(1.5, 6) + 0.5).clamp(0, 1))
    grey = picture.mean(1, keepdim=True)
    picture = grey + (picture - grey) * one(0.3, 1.4)
    picture = (picture * torch.exp(one(-0.25, 0.25, 3))).clamp(1e-4, 1) ** torch.exp(one(-0.4, 0.4))
    picture = (picture - 0.5) * one(0.7, 1.25) + 0.5 + one(-0.1, 0.1)
    picture = torch.where(one(0, 1) < 0.3, _blurred(picture, one(0.4, 1.5)), picture)
    noise = torch.randn(picture.shape, generator=random, device=picture.device)
    picture = (picture + noise * one(0, 0.03)).clamp(0, 1)
    return picture * matte + 1 - matte, matte


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Each of `images` [B,C,S,S] under a Gaussian of its own `sigma` [B,1,1,1] (pixels)."""
    reach = torch.arange(-4, 5, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (reach / sigma.flatten()[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    flat = images.flatten(0, 1)[None]
    groups = flat.shape[1]
    flat = F.conv2d(F.pad(flat, (4, 4, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=groups)
    flat = F.conv2d(F.pad(flat, (0, 0, 4, 4), mode="replicate"), kernel[:, None, :, None], groups=groups)
    return flat[0].view_as(images)


def _uniform(random: torch.Generator, count: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random, device=random.device)
