"""Grids of pictures that show how the training goes: always the same people in the same poses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ag3d.core.shards import save_png
from ag3d.model.body import label as labels
from ag3d.model.generator import Generator
from ag3d.model.imaging import depth_picture, grid, to_uint8
from ag3d.model.training import rng
from ag3d.model.training.data import ZipDataset

_MIN_SIDE = 96  # smaller pictures are enlarged


class Previews:
    """`count` people: the labels are spread over the data set, the latent codes fixed by the seed.

    `statistics` of the last pictures: how much people differ in one pose, and pixels within a picture (white - black is 2).
    """

    def __init__(self, folder: Path, dataset: ZipDataset, z_dim: int, seed: int, count: int = 8) -> None:
        count = min(count, len(dataset.names))
        self.folder, self.dataset = folder, dataset
        self.indices = [round((i + 0.5) * len(dataset.names) / count - 0.5) for i in range(count)]
        self.z = rng.latents(seed, 0, "previews", count, z_dim)
        self.label = torch.from_numpy(dataset.labels[self.indices])
        self.statistics: dict[str, float] = {}

    def save_reals(self) -> None:
        """reals.png: the photographs and normal maps with the previews' poses."""
        items = [self.dataset[index] for index in self.indices]
        rows = [np.stack([getattr(item, name) for item in items]).transpose(0, 2, 3, 1) for name in ("image", "normal")]
        save_png(self.folder / "reals.png", preview_grid(rows))

    @torch.no_grad()
    def save(self, generator: Generator, images: int, device: torch.device) -> Path:
        """<images>.png: rows of images, raw renderings, normals, depth, and images in the zero pose."""
        generator.eval()
        parts = []
        for z, label in zip(self.z.split(4), self.label.split(4), strict=True):
            ws = generator.mapping(z.to(device))
            planes = generator.planes(ws)
            out = generator.synthesis(ws, label.to(device), planes=planes)
            still = generator.synthesis(ws, labels.canonical_label(len(z)).to(device), planes=planes)["image"]
            maps = {**{name: out[name] for name in (*_ROWS, "image_depth", "opacity")}, "still": still}
            parts.append({name: value.float().cpu() for name, value in maps.items()})
        merged = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        rows = [to_uint8(merged[name]) for name in _ROWS]
        rows += [depth_picture(merged["image_depth"], merged["opacity"]), to_uint8(merged["still"])]
        self.statistics = statistics(merged["still"])
        path = self.folder / f"{images:09d}.png"
        save_png(path, preview_grid(rows))
        return path


def statistics(images: torch.Tensor) -> dict[str, float]:
    """Of several people [B,3,H,W] in one pose: mean deviation between them, and within each picture."""
    if len(images) < 2:
        return {}
    contrast = images.flatten(1).std(dim=1, correction=0).mean()
    return {"ema/variety": float(images.std(dim=0, correction=0).mean()), "ema/contrast": float(contrast)}


_ROWS = ("image", "image_raw", "image_normal")


def preview_grid(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of uint8 [B,h,w,3] to one picture; every row gets the size of the largest, and small ones are enlarged."""
    side = max(row.shape[1] for row in rows)
    side *= max(1, -(-_MIN_SIDE // side))
    factors = [side // row.shape[1] for row in rows]
    return grid([list(row.repeat(f, axis=1).repeat(f, axis=2)) for row, f in zip(rows, factors, strict=True)])
