"""The two sets of pictures that distances compare: generated ones, and the data set's in the network's sizes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ag3d.core import console
from ag3d.core.shards import ShardReader, content_hash
from ag3d.evaluation.metrics.protocols import Source
from ag3d.model.face_crop import crop, face_centers
from ag3d.model.generator import Generator
from ag3d.model.ops.resize import resize
from ag3d.model.training.data import ZipDataset

STREAMS = ("image", "normal", "face")


@dataclass
class ImageBatch:
    """Pictures of some people, on white: RGB, uint8; normal maps may be float32 in 0 … 255."""

    image: list[np.ndarray]  # [R,R,3]
    normal: list[np.ndarray]  # [r,r,3]
    face: list[np.ndarray]  # [f,f,3]

    def streams(self) -> dict[str, list[np.ndarray]]:
        return {name: getattr(self, name) for name in STREAMS}


def sample_inputs(poses: np.ndarray, count: int, z_dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [n,z_dim] and labels [n,111], labels drawn uniformly from `poses` [N,111]."""
    random = np.random.default_rng(seed)
    latents = torch.from_numpy(random.standard_normal((count, z_dim), dtype=np.float32))
    return latents, torch.from_numpy(poses[random.integers(len(poses), size=count)].astype(np.float32))


@torch.no_grad()
def generated_images(
    generator: Generator, poses: np.ndarray, source: Source, batch_size: int, seed: int, part: range | None = None
) -> Iterator[ImageBatch]:
    """Batches of pictures without truncation, with deterministic sampling, equal for equal seeds; of `part` only, if given.

    With constant noise the pictures do not depend on the batch; random noise depends on the batch's first picture.
    Faces are cut from the 8-bit image, as from the data set's.
    """
    device = next(generator.parameters()).device
    latents, labels = sample_inputs(poses, source.samples, generator.settings.z_dim, seed)
    part = part or range(source.samples)
    side = source.normal_side(generator)
    gpus = [device] if device.type == "cuda" else []
    for start in console.progress(range(part.start, part.stop, batch_size), "generating", unit="batch"):
        batch = slice(start, min(start + batch_size, part.stop))
        z, label = latents[batch].to(device), labels[batch].to(device)
        with torch.random.fork_rng(gpus, enabled=source.noise == "random"):
            if source.noise == "random":
                torch.manual_seed(seed * 1_000_003 + start)
            ws = generator.mapping(z)
            out = generator.synthesis(ws, label, source.noise, depth_resolution=source.ray_samples)
        image = to_uint8(out["image"])
        normal = to_uint8(resize(out["image_normal"], side))
        yield ImageBatch(image, normal, crop_faces(image, label, generator, source))


class RealImages:
    """All people of the data set, unmirrored, at the sizes that `source` makes fakes in.

    The reference shrinks the image-sized normal maps and does not round them.
    """

    def __init__(self, paths: Sequence[Path], generator: Generator, source: Source) -> None:
        self.generator, self.source = generator, source
        self._side = source.normal_side(generator)
        self._images = ZipDataset(paths, generator.settings.image_resolution, cache_bytes=0)
        self._small = self._images if source.reference else ZipDataset(paths, self._side, cache_bytes=0)

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, batch_size: int, part: range | None = None) -> Iterator[ImageBatch]:
        """Those of `part` only, if given."""
        part = part or range(len(self))
        device = next(self.generator.parameters()).device
        with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as readers:
            for start in console.progress(range(part.start, part.stop, batch_size), "data set", unit="batch"):
                indices = range(start, min(start + batch_size, part.stop))
                items = list(readers.map(self._images.__getitem__, indices))
                image = [channels_last(item.image) for item in items]
                label = torch.from_numpy(np.stack([item.label for item in items])).to(device)
                small_items = items if self.source.reference else readers.map(self._small.__getitem__, indices)
                normal = [channels_last(item.normal) for item in small_items]
                if self.source.reference:
                    normal = _to_float255(resize(to_tensor(normal), self._side))
                yield ImageBatch(image, normal, crop_faces(image, label, self.generator, self.source))


def data_sha256(paths: Sequence[Path]) -> str:
    """One hash of names and contents in the zips, whatever their order; what made them does not count."""
    return content_hash([ShardReader(path) for path in paths])


def crop_faces(images: list[np.ndarray], label: torch.Tensor, generator: Generator, source: Source) -> list[np.ndarray]:
    """Face crops of uint8 images of the network's size, where the labels say that the faces are."""
    centers = face_centers(generator.body, label)
    faces = crop(to_tensor(images).to(label.device), centers, source.face_side(generator))
    return to_uint8(faces, truncated=source.reference)


def to_uint8(images: torch.Tensor, truncated: bool = False) -> list[np.ndarray]:
    """[B,3,H,W] in [-1,1] to uint8 RGB [H,W,3], rounded or `truncated`."""
    levels = (images.detach().float().cpu() + 1) * 127.5
    pixels = (levels if truncated else levels.round()).clamp(0, 255).to(torch.uint8)
    return [channels_last(image) for image in pixels.numpy()]


def to_tensor(images: list[np.ndarray]) -> torch.Tensor:
    """uint8 RGB of one size to [B,3,H,W] in [-1,1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def channels_last(image: np.ndarray) -> np.ndarray:
    """[3,H,W] to [H,W,3], contiguous."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def _to_float255(images: torch.Tensor) -> list[np.ndarray]:
    """[B,3,H,W] in [-1,1] to float32 RGB in 0 … 255."""
    return [channels_last(image) for image in ((images.detach().float().cpu() + 1) * 127.5).numpy()]
