"""What cameras see of people, and how it is laid out in files: pictures, videos, or the network's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh

from ag3d.core.console import progress
from ag3d.core.files import atomic
from ag3d.core.shards import save_png
from ag3d.model.avatars.identities import People
from ag3d.model.avatars.mesh import canonical_mesh, posed_mesh
from ag3d.model.avatars.mesh_preview import render_posed_mesh
from ag3d.model.imaging import KINDS, grid, pictures_of, resize_square, to_uint8, write_gif, write_video

RENDER_KINDS = (*KINDS, "mesh")
MOVING_SUFFIXES, STILL_SUFFIXES = (".mp4", ".gif", ".png", ".npz"), (".png", ".npz")


@dataclass
class RenderStyle:
    """How people are shown."""

    show: tuple[str, ...] = ("image", "normal")  # of RENDER_KINDS, from top to bottom
    side: int = 192  # pixels of a picture
    voxels: int = 128  # along the body's longest side, when meshes are extracted
    columns: int = 8  # people in a row


@dataclass
class RenderedFrame:
    """Some people at one moment, on the CPU."""

    out: dict[str, torch.Tensor]  # the network's output for all of them, of the kinds looked at
    meshes: np.ndarray | None  # uint8 [n,side,side,3]
    label: torch.Tensor  # [n,111]
    ws: torch.Tensor  # [n,num_ws,w_dim]

    def pictures(self, style: RenderStyle) -> dict[str, np.ndarray]:
        """uint8 [n,side,side,3] of each kind."""
        pictures = pictures_of(self.out, style.side)
        if self.meshes is not None:
            pictures["mesh"] = np.stack([resize_square(picture, style.side) for picture in self.meshes])
        return {kind: pictures[kind] for kind in style.show}

    def numbers(self, style: RenderStyle) -> dict[str, np.ndarray]:
        """As the network gives them: image, raw uint8 [n,r,r,3]; normal float32 [n,r,r,3]; depth, opacity float32 [n,r,r]."""
        arrays: dict[str, np.ndarray] = {"label": self.label.numpy(), "ws": self.ws.numpy()}
        for kind in style.show:
            if kind in ("image", "raw"):
                arrays[kind] = to_uint8(self.out["image" if kind == "image" else "image_raw"])
            elif kind == "normal":
                arrays[kind] = self.out["image_normal"].permute(0, 2, 3, 1).numpy()
            elif kind == "depth":
                arrays |= {"depth": self.out["image_depth"][:, 0].numpy(), "opacity": self.out["opacity"][:, 0].numpy()}
            elif self.meshes is not None:
                arrays[kind] = self.meshes
        return arrays


def canonical_meshes(people: People, planes: torch.Tensor, style: RenderStyle) -> list[trimesh.Trimesh] | None:
    """Everybody's canonical mesh, where meshes are shown."""
    if "mesh" not in style.show:
        return None
    return [canonical_mesh(people.generator, planes[index : index + 1], style.voxels) for index in range(len(people))]


def render_frame(
    people: People,
    label: torch.Tensor,  # [n,111]
    person: torch.Tensor,  # [n], indices
    style: RenderStyle,
    planes: torch.Tensor | None = None,  # of everybody
    ws: torch.Tensor | None = None,  # [n,num_ws,w_dim], instead of the people's own
    meshes: list[trimesh.Trimesh] | None = None,  # of everybody, canonical
) -> RenderedFrame:
    outs = [
        {key: out[key].float().cpu() for key in ("image", "image_raw", "image_normal", "image_depth", "opacity")}
        for out in people.render(label, person, planes, ws)
    ]
    person_ws = people.ws[person] if ws is None else ws
    mesh_pictures = None
    if "mesh" in style.show:
        rows = []
        for index, one in enumerate(label.split(1)):
            if meshes is not None:
                mesh = meshes[int(person[index])]
            else:
                with torch.no_grad():
                    tri = people.generator.planes(person_ws[index : index + 1])
                mesh = canonical_mesh(people.generator, tri, style.voxels)
            rows.append(render_posed_mesh(posed_mesh(people.generator, mesh, one), one, style.side))
        mesh_pictures = np.stack(rows)
    merged = {key: torch.cat([out[key] for out in outs]) for key in outs[0]}
    return RenderedFrame(merged, mesh_pictures, label.cpu(), person_ws.float().cpu())


def render_frames(
    people: People, which: torch.Tensor, views: list[torch.Tensor], style: RenderStyle, what: str
) -> Iterator[RenderedFrame]:
    """A frame of the people `which` [n] for each of `views` (labels [n,111])."""
    planes = people.planes()
    meshes = canonical_meshes(people, planes, style)
    for label in progress(views, what, len(views), "frame"):
        yield render_frame(people, label, which, style, planes, meshes=meshes)


def arrange(pictures: dict[str, np.ndarray], columns: int) -> np.ndarray:
    """A sheet: people from left to right, kinds from top to bottom; after `columns` people it goes on below."""
    count = len(next(iter(pictures.values())))
    blocks = []
    for start in range(0, count, columns):
        here = range(start, min(start + columns, count))
        rows = grid([[row[index] for index in here] for row in pictures.values()])
        missing = (min(columns, count) - len(here)) * rows.shape[1] // len(here)
        blocks.append(np.pad(rows, ((0, 0), (0, missing), (0, 0)), constant_values=255))
    return np.concatenate(blocks, axis=0)


def write_still(path: Path, frame: RenderedFrame, style: RenderStyle, seeds: list[int]) -> None:
    """A sheet (.png), or numbers (.npz)."""
    if path.suffix == ".npz":
        _write_numbers(path, {**frame.numbers(style), "seed": np.array(seeds)})
    else:
        save_png(path, arrange(frame.pictures(style), style.columns))


def write_frames(path: Path, frames: Iterable[RenderedFrame], style: RenderStyle, fps: float, seeds: list[int]) -> None:
    """A video (.mp4, .gif), a sheet with a column for each frame (.png), or numbers (.npz; frames come first)."""
    if path.suffix == ".npz":
        numbers_of_frames = [frame.numbers(style) for frame in frames]
        stacked = {key: np.stack([numbers[key] for numbers in numbers_of_frames]) for key in numbers_of_frames[0]}
        _write_numbers(path, {**stacked, "fps": np.array(float(fps)), "seed": np.array(seeds)})
    elif path.suffix == ".png":
        columns = [np.stack(list(frame.pictures(style).values()), axis=1) for frame in frames]  # [n,kinds,side,side,3]
        save_png(path, grid(list(map(list, zip(*(column.reshape(-1, *column.shape[2:]) for column in columns))))))
    else:
        pictures = (arrange(frame.pictures(style), style.columns) for frame in frames)
        (write_gif if path.suffix == ".gif" else write_video)(path, pictures, fps)


def _write_numbers(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic(path) as beside:
        np.savez_compressed(beside, allow_pickle=False, **arrays)
