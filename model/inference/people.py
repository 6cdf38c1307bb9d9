"""Generated people: seeds, style codes, poses and renderings that can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ag3d.console import log
from ag3d.errors import UserError
from ag3d.model.body import label as labels
from ag3d.model.body.rotation import between, compose
from ag3d.model.generator import Generator


def read_poses(path: str | Path) -> torch.Tensor:
    """The pose distribution [N,111]. Raises UserError."""
    try:
        poses = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"the pose distribution {path} does not exist") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is not a readable pose distribution (.npy): {error}") from error
    if not isinstance(poses, np.ndarray) or poses.dtype.kind not in "fiu":
        raise UserError(f"{path} is not a pose distribution: expected one array of numbers (.npy)")
    if poses.ndim != 2 or poses.shape[1] != labels.LENGTH or len(poses) == 0:
        raise UserError(f"{path} is {list(poses.shape)}; a pose distribution is [N,{labels.LENGTH}]")
    with np.errstate(over="ignore"):
        poses = poses.astype(np.float32)
    if not np.isfinite(poses).all():
        raise UserError(f"{path} holds values that are no finite numbers")
    return torch.from_numpy(poses)


class People:
    """Identities seed, seed + 1, …: each has its own latent code and its own row of the pose distribution."""

    def __init__(
        self, generator: Generator, poses: torch.Tensor, number: int, seed: int, truncation: float, batch: int = 4
    ) -> None:
        self.generator, self.batch = generator, batch
        device = generator.renderer.sigmoid_beta.device
        seeds = [torch.Generator().manual_seed(seed + index) for index in range(number)]
        self.seeds = list(range(seed, seed + number))
        self.z = torch.stack([torch.randn(generator.settings.z_dim, generator=source) for source in seeds])
        chosen = torch.tensor([int(torch.randint(len(poses), (), generator=source)) for source in seeds])
        self.label = poses[chosen].to(device)
        with torch.no_grad():
            self.ws = generator.mapping(self.z.to(device), truncation)

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def betas(self) -> torch.Tensor:
        return labels.split(self.label).betas

    def planes(self) -> torch.Tensor:
        """Everybody's tri-planes, to be drawn once for many views."""
        with torch.no_grad():
            return torch.cat([self.generator.planes(ws) for ws in self.ws.split(self.batch)])

    def render(
        self, label: torch.Tensor, person: torch.Tensor, planes: torch.Tensor | None = None
    ) -> Iterator[dict[str, torch.Tensor]]:
        """Render labels [n,111] of people [n] (indices) in batches; too little GPU memory halves the batch."""
        start = 0
        size = self.batch
        while start < len(label):
            which = person[start : start + size]
            try:
                with torch.no_grad():
                    tri = None if planes is None else planes[which]
                    out = self.generator.synthesis(self.ws[which], label[start : start + size], planes=tri)
            except torch.OutOfMemoryError:
                if size == 1:
                    raise UserError(
                        "the GPU's memory does not suffice for one image; use --device cpu or a smaller network"
                    ) from None
                size = max(1, size // 2)
                torch.cuda.empty_cache()
                log.warning("out of GPU memory: going on with %d images at once", size)
                continue
            yield out
            start += len(which)


def canonical(people: People) -> torch.Tensor:
    """Labels of everybody in the zero pose, facing the camera."""
    return labels.canonical_label(len(people), people.betas.cpu()).to(people.label.device)


def turned(label: torch.Tensor, angle: float, generator: Generator) -> torch.Tensor:
    """The same bodies seen from `angle` radians further round their vertical axis.

    The camera moves on a circle about the pelvis. Under the reference's compatibility cameras must look along z, and
    the body turns the other way instead.
    """
    parts = labels.split(label)
    axis = label.new_tensor([[0.0, angle, 0.0]]).expand(len(label), 3)
    if not generator.settings.departures.body_bounds:
        return labels.Label(**{**vars(parts), "global_orient": compose(-axis, parts.global_orient)}).pack()
    pelvis = generator.body.from_label(label).joints[:, 0]
    pelvis = torch.cat([pelvis[:, :1], torch.zeros_like(pelvis[:, 1:2]), pelvis[:, 2:]], dim=1)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    turn = label.new_tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    cam2world = parts.cam2world.clone()
    cam2world[:, :3, :3] = turn @ parts.cam2world[:, :3, :3]
    cam2world[:, :3, 3] = (parts.cam2world[:, :3, 3] - pelvis) @ turn.T + pelvis
    return labels.Label(**{**vars(parts), "cam2world": cam2world}).pack()


def blended(first: torch.Tensor, second: torch.Tensor, share: float) -> torch.Tensor:
    """Labels between two: rotations by the shorter way, everything else linearly."""
    mixed = torch.lerp(first, second, share)
    for start in range(29, 101, 3):
        rotation = slice(start, start + 3)
        mixed[:, rotation] = between(first[:, rotation], second[:, rotation], share)
    return mixed
