"""Generated people: seeds, style codes, poses and renderings that can be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ag3d.core.bounded import read_npy
from ag3d.core.errors import UserError
from ag3d.core.files import read_object, sha256
from ag3d.model.avatars.batching import map_with_oom_backoff
from ag3d.model.avatars.latents import Latents, finite
from ag3d.model.body import label as labels
from ag3d.model.body.rotation import compose_axis_angles, slerp
from ag3d.model.generator import Generator

_POSE = slice(29, 101)  # of a label: the rotations, before the build


def read_poses(path: str | Path) -> Tensor:
    """The pose distribution [N,111]. Raises UserError, also where it is not the file that a .json beside it names."""
    beside = Path(path).with_suffix(".json")
    recorded = read_object(beside) if beside.name == "poses.json" and beside.exists() and Path(path).exists() else None
    if recorded is not None and recorded.get("file") != sha256(path):
        raise UserError(
            f"{path} is damaged, or was replaced: {beside.name} beside it names another; delete both and run again"
        )
    poses = read_npy(path)
    if poses.dtype.kind not in "fiu":
        raise UserError(f"{path} is not a pose distribution: expected one array of numbers (.npy)")
    if poses.ndim != 2 or poses.shape[1] != labels.LENGTH or len(poses) == 0:
        raise UserError(f"{path} is {list(poses.shape)}; a pose distribution is [N,{labels.LENGTH}]")
    return finite(poses, str(path))


class People:
    """Identities by their seeds: each has its own latent code and its own row of the pose distribution."""

    def __init__(
        self,
        generator: Generator,
        poses: Tensor,
        number: int,
        seed: int,
        truncation: float,
        batch: int = 4,
        seeds: Sequence[int] = (),
    ) -> None:
        """The people `seeds`, or without them seed, seed + 1, …"""
        self.generator, self.batch = generator, batch
        device = generator.renderer.sigmoid_beta.device
        self.seeds = list(seeds) or list(range(seed, seed + number))
        sources = [torch.Generator().manual_seed(one) for one in self.seeds]
        z = torch.stack([torch.randn(generator.settings.z_dim, generator=source) for source in sources])
        self.label = _drawn(poses, sources).to(device)
        with torch.no_grad():
            self.ws = generator.mapping(z.to(device), truncation)

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def betas(self) -> Tensor:
        return labels.split(self.label).betas

    def planes(self) -> Tensor:
        """Everybody's tri-planes, to be drawn once for many views."""
        with torch.no_grad():
            return torch.cat(
                list(map_with_oom_backoff(len(self), self.batch, lambda part: self.generator.planes(self.ws[part])))
            )

    def render(
        self, label: Tensor, person: Tensor, planes: Tensor | None = None, ws: Tensor | None = None
    ) -> Iterator[dict[str, Tensor]]:
        """Render labels [n,111] of people [n] (indices) in batches; too little memory halves the batch.

        Ready `planes` of everybody spare the backbone; `ws` [n,num_ws,w_dim] replace the people's own.
        """

        @torch.no_grad()
        def make(part: slice) -> dict[str, Tensor]:
            which = person[part]
            tri = None if planes is None else planes[which]
            return self.generator.synthesis(self.ws[which] if ws is None else ws[part], label[part], planes=tri)

        return map_with_oom_backoff(len(label), self.batch, make)


class SavedPeople(People):
    """People whose style codes were kept in a file (see latents)."""

    def __init__(self, generator: Generator, latents: Latents, poses: Tensor | None, batch: int = 4) -> None:
        """Their poses are the file's, or where `poses` are given, rows of these. Raises UserError where there are none."""
        device = generator.renderer.sigmoid_beta.device
        self.generator, self.batch, self.seeds = generator, batch, latents.seeds
        self.ws = latents.ws.to(device)
        if poses is not None:
            sources = [torch.Generator().manual_seed(seed) for seed in latents.seeds]
            for source in sources:  # the pose is drawn after the latent code, as for people by their seeds
                torch.randn(generator.settings.z_dim, generator=source)
            label = _drawn(poses, sources)
        elif latents.label is not None:
            label = latents.label
        else:
            raise UserError("the style codes come without poses ('label'): give --poses")
        self.label = label.to(device)


def _drawn(poses: Tensor, sources: list[torch.Generator]) -> Tensor:
    return poses[torch.tensor([int(torch.randint(len(poses), (), generator=source)) for source in sources])]


def canonical_labels(people: People) -> Tensor:
    """Labels of everybody in the zero pose, facing the camera."""
    return labels.canonical_label(len(people), people.betas.cpu()).to(people.label.device)


def orbit_view(label: Tensor, angle: float, generator: Generator, by: str = "camera") -> Tensor:
    """The same bodies seen from `angle` radians further round their vertical axis.

    By the `camera`, it moves on a circle about the pelvis; by the `body`, that turns the other way before a camera that
    stands still. Under the reference's compatibility cameras must look along z, and the body turns in any case.
    """
    parts = labels.split(label)
    axis = label.new_tensor([[0.0, angle, 0.0]]).expand(len(label), 3)
    if by == "body" or not generator.settings.departures.body_bounds:
        return replace(parts, global_orient=compose_axis_angles(-axis, parts.global_orient)).pack()
    pelvis = generator.body.from_label(label).joints[:, 0]
    pelvis = torch.cat([pelvis[:, :1], torch.zeros_like(pelvis[:, 1:2]), pelvis[:, 2:]], dim=1)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    turn = label.new_tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    cam2world = parts.cam2world.clone()
    cam2world[:, :3, :3] = turn @ parts.cam2world[:, :3, :3]
    cam2world[:, :3, 3] = (parts.cam2world[:, :3, 3] - pelvis) @ turn.T + pelvis
    return replace(parts, cam2world=cam2world).pack()


def interpolate_labels(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Labels slerp two: rotations by the shorter way, everything else linearly."""
    mixed = torch.lerp(first, second, share)
    for start in range(_POSE.start, _POSE.stop, 3):
        rotation = slice(start, start + 3)
        mixed[:, rotation] = slerp(first[:, rotation], second[:, rotation], share)
    return mixed


def with_betas(label: Tensor, other: Tensor) -> Tensor:
    """Labels [n,111] with the build (betas) of others; pose, place and camera stay."""
    return torch.cat([label[:, : _POSE.stop], other[:, _POSE.stop :]], dim=1)
