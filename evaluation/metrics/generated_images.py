"""Generated pictures: the same ones for the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ag3d.core import console
from ag3d.evaluation.metrics.neighbour_picture import Pictures, to_bytes, to_tensor
from ag3d.evaluation.metrics.protocols import Source
from ag3d.model.face_crop import crop, face_centers
from ag3d.model.generator import Generator
from ag3d.model.ops.resize import resize


def draw(poses: np.ndarray, samples: int, z_dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents [n,z_dim] and labels [n,111], labels drawn uniformly from `poses` [N,111]."""
    random = np.random.default_rng(seed)
    latents = torch.from_numpy(random.standard_normal((samples, z_dim), dtype=np.float32))
    return latents, torch.from_numpy(poses[random.integers(len(poses), size=samples)].astype(np.float32))


@torch.no_grad()
def generated(
    generator: Generator, poses: np.ndarray, source: Source, batch: int, seed: int, part: range | None = None
) -> Iterator[Pictures]:
    """Batches of pictures without truncation, with deterministic sampling; those of `part` only, if given.

    With constant noise the pictures do not depend on the batch; random noise depends on the batch's first picture.
    Faces are cut from the 8-bit image, as from the data set's.
    """
    device = next(generator.parameters()).device
    latents, labels = draw(poses, source.samples, generator.settings.z_dim, seed)
    part = part or range(source.samples)
    side = source.normal_side(generator)
    for start in console.progress(range(part.start, part.stop, batch), "generating", unit="batch"):
        chosen = slice(start, min(start + batch, part.stop))
        z, label = latents[chosen].to(device), labels[chosen].to(device)
        gpus = [device] if device.type == "cuda" else []
        with ray_samples(generator, source.ray_samples), torch.random.fork_rng(gpus, enabled=source.noise == "random"):
            if source.noise == "random":
                torch.manual_seed(seed * 1_000_003 + start)
            out = generator.synthesis(generator.mapping(z), label, noise_mode=source.noise, deterministic=True)
        image = to_bytes(out["image"])
        yield Pictures(image, to_bytes(resize(out["image_normal"], side)), faces(image, label, generator, source))


def faces(images: list[np.ndarray], label: torch.Tensor, generator: Generator, source: Source) -> list[np.ndarray]:
    """Face crops of uint8 images of the network's size, where the labels say that the faces are."""
    centers = face_centers(generator.body, label)
    cut = crop(to_tensor(images).to(label.device), centers, source.face_side(generator))
    return to_bytes(cut, truncated=source.reference)


@contextmanager
def ray_samples(generator: Generator, number: int) -> Iterator[None]:
    """Render with `number` samples per ray in each pass (0: as the network is set)."""
    before = generator.renderer.settings
    if number:
        generator.renderer.settings = dataclasses.replace(
            before, depth_resolution=number, depth_resolution_importance=number
        )
    try:
        yield
    finally:
        generator.renderer.settings = before
