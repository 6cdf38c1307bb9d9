"""The person of an aligned photograph as style codes: what the network shows is fitted to photograph, normals and mask.

The codes are sought first among random people, then one for all layers is fitted (W), then one for each layer (W+).
Photographs of your own are aligned by the pipeline: run it on their folder, then name the data set and the person here.
Writes the style codes (.npz), for --ws of `ag3d generate` and `ag3d export`, and beside them a picture (.png): the photograph
above what the network makes of it, with normals, and the person from other sides.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ag3d.core import console
from ag3d.core.bounded import read_bytes, read_npy
from ag3d.core.console import progress
from ag3d.core.dataset_format import flat_label
from ag3d.core.errors import UserError
from ag3d.core.files import read_json
from ag3d.core.shards import decode_image, save_png
from ag3d.model.avatars.command import add_network_options, open_network
from ag3d.model.avatars.identities import orbit_view
from ag3d.model.avatars.latents import write_latents
from ag3d.model.generator import Generator
from ag3d.model.imaging import grid, resize_square, to_uint8
from ag3d.model.ops.resize import resize
from ag3d.model.training.data import ZipDataset, prepare_person

_DRAWN = 512  # random styles that tell how styles vary
_LOG = "image {image:.4f}  raw {raw:.4f}  normal {normal:.4f}  mask {mask:.4f}"


@dataclass
class Target:
    """What is to be seen; colours and normals in [-1,1] over white."""

    image: torch.Tensor  # [1,3,R,R]
    normal: torch.Tensor | None  # [1,3,r,r]
    mask: torch.Tensor  # [1,1,r,r] in [0,1]
    label: torch.Tensor  # [1,111]


@dataclass
class Weights:
    image: float = 1.0
    normal: float = 0.5
    mask: float = 1.0
    usual: float = 0.002  # of staying near the average person


def make_target(image: np.ndarray, normal: np.ndarray | None, mask: np.ndarray, label: np.ndarray, generator: Generator) -> Target:  # fmt: skip
    """image, normal: uint8 [S,S,3] over white; mask [S,S] in [0,1]; label [111]."""
    device = generator.renderer.sigmoid_beta.device

    def resized(values: np.ndarray, side: int) -> torch.Tensor:
        planar = torch.from_numpy(np.ascontiguousarray(values)).float().movedim(-1, 0)[None].to(device)
        return resize(planar, side)

    large, small = generator.resolution, generator.neural_resolution
    normal_map = None if normal is None else resized(normal, small) / 127.5 - 1
    return Target(
        resized(image, large) / 127.5 - 1,
        normal_map,
        resized(mask[..., None], small),
        torch.from_numpy(np.asarray(label, np.float32))[None].to(device),
    )


def image_losses(out: dict[str, torch.Tensor], target: Target) -> dict[str, torch.Tensor]:
    """How far renderings [B] are from the target, each kind [B]."""
    by_kind = {
        "image": _pyramid(out["image"], target.image),
        "raw": _pyramid(out["image_raw"], resize(target.image, out["image_raw"].shape[-1])),
    }
    by_kind["mask"] = (out["opacity"] - target.mask).square().mean(dim=(1, 2, 3))
    if target.normal is not None:
        # Where both are, as directions: the outline is the mask's affair.
        both = (target.mask * out["opacity"])[:, 0].detach()
        directions = (_directions(out["image_normal"], out["opacity"]), _directions(target.normal, target.mask))
        away = 1 - (directions[0] * directions[1]).sum(1)  # 1 - cosine of the angle between them
        by_kind["normal"] = (away * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2)).clamp_min(1)
    else:
        by_kind["normal"] = torch.zeros_like(by_kind["mask"])
    return by_kind


def invert(
    generator: Generator,
    target: Target,
    steps: int = 300,
    starts: int = 64,
    rate: float = 0.05,
    weights: Weights | None = None,
    seed: int = 0,
    batch: int = 4,
) -> tuple[torch.Tensor, list[dict[str, float]]]:
    """Style codes [1,num_ws,w_dim] of the target's person, and the losses of every step."""
    weights = weights or Weights()
    mean, std_dev, candidates_drawn = _styles(generator, seed, max(starts, 1))
    with torch.no_grad():
        candidates = torch.cat([mean[None], candidates_drawn[:starts]])
        scores = []
        for part in progress(candidates.split(batch), "random people", math.ceil(len(candidates) / batch), "batch"):
            out = generator.synthesis(_wide(part, generator), target.label.expand(len(part), -1))
            scores.append(_sum(image_losses(out, target), weights))
        best = candidates[int(torch.cat(scores).argmin())]

    offset = ((best - mean) / std_dev)[None, None].clone().requires_grad_(True)  # [1,1,w_dim], in usual deviations
    history: list[dict[str, float]] = []
    best_offset, lowest = offset.detach(), math.inf
    optimizer = torch.optim.Adam([offset], lr=rate, betas=(0.9, 0.99))
    for step in progress(range(steps), "inversion", steps, "step"):
        if step == steps // 3:  # from one code for all layers to one for each
            offset = best_offset.expand(1, generator.num_ws, -1).clone().requires_grad_(True)
            optimizer = torch.optim.Adam([offset], lr=rate, betas=(0.9, 0.99))
        optimizer.param_groups[0]["lr"] = rate * (0.1 + 0.9 * math.cos(0.5 * math.pi * step / steps) ** 2)
        ws = mean + std_dev * offset
        out = generator.synthesis(ws.expand(1, generator.num_ws, -1), target.label)
        by_kind = image_losses(out, target)
        total = _sum(by_kind, weights).sum() + weights.usual * offset.square().mean()
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        history.append({name: value.item() for name, value in (by_kind | {"total": total}).items()})
        if history[-1]["total"] < lowest:
            best_offset, lowest = offset.detach().clone(), history[-1]["total"]
        optimizer.step()
    return (mean + std_dev * best_offset).expand(1, generator.num_ws, -1).contiguous(), history


def comparison(generator: Generator, ws: torch.Tensor, target: Target, side: int) -> np.ndarray:
    """Photograph and normals above the network's, and the person from the sides and from behind."""

    def picture(images: torch.Tensor) -> np.ndarray:
        return resize_square(to_uint8(images)[0], side)

    views = []
    with torch.no_grad():
        planes = generator.planes(ws)
        for angle in (0.0, 0.5 * math.pi, math.pi, 1.5 * math.pi):
            out = generator.synthesis(ws, orbit_view(target.label, angle, generator), planes=planes)
            views.append((picture(out["image"]), picture(out["image_normal"])))
    (image, normal), *around = views
    blank = np.full((side, side, 3), 255, np.uint8)
    original = [picture(target.image), blank if target.normal is None else picture(target.normal)]
    return grid([original + [one for one, _ in around], [image, normal] + [one for _, one in around]])


def _styles(generator: Generator, seed: int, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The average style [w_dim], how styles deviate from it [w_dim], and random ones [number,w_dim]."""
    device = generator.renderer.sigmoid_beta.device
    source = torch.Generator().manual_seed(seed)
    z = torch.randn(max(number, _DRAWN), generator.settings.z_dim, generator=source)
    with torch.no_grad():
        drawn = generator.mapping(z.to(device))[:, 0]
    mean = generator.backbone.mapping.w_avg
    return mean, (drawn - mean).square().mean(0).sqrt().clamp_min(1e-6), drawn[:number]


def _wide(w: torch.Tensor, generator: Generator) -> torch.Tensor:
    return w[:, None].expand(-1, generator.num_ws, -1)


def _sum(by_kind: dict[str, torch.Tensor], weights: Weights) -> torch.Tensor:
    colors = by_kind["image"] + 0.5 * by_kind["raw"]  # meshes have the raw rendering's colours
    return weights.image * colors + weights.normal * by_kind["normal"] + weights.mask * by_kind["mask"]


def _pyramid(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference over several sizes, [B]: the coarse ones lead the fine ones."""
    second = second.expand_as(first)
    total, levels = first.new_zeros(len(first)), 0
    while first.shape[-1] >= 8 and levels < 5:
        total, levels = total + (first - second).abs().mean(dim=(1, 2, 3)), levels + 1
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    return total / levels


def _directions(normal: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Unit normals [B,3,r,r] of normal maps over white."""
    return F.normalize(normal - (1 - cover), dim=1, eps=1e-3)


# ---- the command


def from_data(folder: Path, person: str, generator: Generator) -> Target:
    """A person of a data set (a zip, or the folder of its shards). Raises UserError."""
    paths = sorted(folder.glob("*.zip")) if folder.is_dir() else [folder]
    if not paths:
        raise UserError(f"--data {folder} holds no shards (.zip); a data set's are in results/<dataset>/dataset")
    data = ZipDataset(paths, generator.resolution, cache_bytes=0)
    plain = [Path(name).stem.removeprefix("img_") for name in data.names]
    if person not in plain:
        few = ", ".join(plain[:5]) + (f" … ({len(plain)} people)" if len(plain) > 5 else "")
        raise UserError(f"--person {person or 'is missing'}: {folder} has {few}")
    image, normal, label = data[plain.index(person)]
    image, normal = image.transpose(1, 2, 0), normal.transpose(1, 2, 0)
    return make_target(image, normal, (normal != 255).any(-1).astype(np.float32), label, generator)


def from_files(image: Path, label: Path, normal: Path | None, generator: Generator) -> Target:
    """A crop (.png with alpha, or over white with normals), its label and normals. Raises UserError."""
    picture = _picture(image)
    shape = None if normal is None else _picture(normal)
    alpha = picture.shape[-1] == 4
    if shape is None and not alpha:
        raise UserError(
            f"--image {image} has no alpha channel that tells the person from the background; give --normal too"
        )
    around = np.full_like(picture[..., :3], 255) if shape is None else shape[..., :3]
    mask = picture[..., 3] / 255 if alpha else (around != 255).any(-1)
    pixels, normals = prepare_person(picture, around, generator.resolution)
    return make_target(
        pixels, None if shape is None else normals, mask.astype(np.float32), read_label(label), generator
    )


def read_label(path: Path) -> np.ndarray:
    """111 numbers of a file: .npy, or .json. Raises UserError."""
    return flat_label([read_json(path) if path.suffix == ".json" else read_npy(path)], f"--label {path}")


def _picture(path: Path) -> np.ndarray:
    pixels = decode_image(read_bytes(path), str(path))
    if pixels.ndim != 3 or pixels.shape[0] != pixels.shape[1]:
        raise UserError(f"{path} is {list(pixels.shape)}; an aligned crop is square and has colours")
    return pixels


def add_options(parser: argparse.ArgumentParser) -> None:
    add_network_options(parser)
    parser.add_argument("--data", type=Path, help="data set of the photograph: results/<dataset>/dataset, or a .zip")
    parser.add_argument("--person", default="", help="who of --data; without it, names are listed")
    parser.add_argument("--image", type=Path, help="instead of --data: an aligned crop (.png)")
    parser.add_argument("--label", type=Path, help="with --image: its label, 111 numbers (.npy or .json)")
    parser.add_argument("--normal", type=Path, help="with --image: its normal map (.png)")
    parser.add_argument("--output", type=Path, required=True, help="style codes to write (.npz)")
    parser.add_argument("--steps", type=int, default=300, help="steps of the optimisation (default: %(default)s)")
    parser.add_argument(
        "--starts", type=int, default=64, help="random people to choose the start from (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=float, default=0.05, help="learning rate, in deviations of styles (default: %(default)s)"
    )
    for name, text in (
        ("image", "the colours"),
        ("normal", "the normals"),
        ("mask", "the outline"),
        ("usual", "staying near the average person: more is safer, less is nearer to the photograph"),
    ):
        parser.add_argument(
            f"--{name}-weight",
            type=float,
            default=getattr(Weights, name),
            help=f"weight of {text} (default: %(default)s)",
        )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random people (default: %(default)s)")
    parser.add_argument("--side", type=int, default=256, help="side of the pictures (default: %(default)s)")


def main(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if output.suffix != ".npz":
        raise UserError(f"--output {output}: the name of a file of 'invert' ends in .npz")
    if bool(arguments.data) == bool(arguments.image) or bool(arguments.image) != bool(arguments.label):
        raise UserError("give either --data and --person, or --image and --label (and --normal)")
    picture = output.with_suffix(".png")
    if picture.exists() and not output.exists():
        raise UserError(f"{picture} exists and is not of an earlier --output {output}; choose another name")
    if arguments.steps < 1 or arguments.starts < 0 or not arguments.rate > 0 or arguments.side < 16:
        raise UserError("--steps must be at least 1, --starts 0, --side 16, and --rate above 0")
    generator = open_network(arguments, precision="float32")
    if arguments.data:
        target = from_data(arguments.data, arguments.person, generator)
    else:
        target = from_files(arguments.image, arguments.label, arguments.normal, generator)
    weights = Weights(arguments.image_weight, arguments.normal_weight, arguments.mask_weight, arguments.usual_weight)
    ws, history = invert(generator, target, arguments.steps, arguments.starts, arguments.rate, weights, arguments.seed)
    best = min(history, key=lambda row: row["total"])
    console.log.info("at first: %s", _LOG.format(**history[0]))
    console.log.info("at last:  %s", _LOG.format(**best))
    write_latents(output, ws, target.label, [0])
    save_png(picture, comparison(generator, ws, target, arguments.side))
    console.log.info("wrote %s and %s", output, picture)
