"""Does a person stay the same when the camera goes round (view consistency, identity), and when they move (temporal).

Places in images are [...,2] in units of the image's side; pixel centres lie at (k + 0.5) / side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ag3d.core import console
from ag3d.core.camera import project_pinhole
from ag3d.evaluation.metrics.feature_extraction import EMBEDDINGS, EmbeddedFeatures
from ag3d.evaluation.metrics.image_sets import to_uint8
from ag3d.evaluation.metrics.protocols import MAIN_NETWORK
from ag3d.evaluation.truth import pose_metrics
from ag3d.model.avatars.identities import orbit_view
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.ops.resize import resize
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.model.rendering.rays import camera_rays

VIEWS = 4  # directions that a person is seen from
COLOR_ANGLE = math.radians(10)  # between the two cameras whose colours are compared
IDENTITY_ANGLE = math.radians(15)  # to either side
SOLID = 0.95  # opacity from which a pixel shows one surface
SAME_DEPTH = 0.02  # world units: nearer than this, two cameras see one point


@torch.no_grad()
def view_consistency(generator: Generator, ws: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Measures of a person (ws [1,…], label [1,111]) seen from all sides.

    `silhouette`: overlap (IoU) of the silhouettes from opposite sides, one mirrored: they are the same outline.
    `color`: mean difference (of 255) between the colours that two cameras ten degrees apart see of the same points.
    """
    planes = generator.planes(ws)

    def render(angle: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        view = orbit_view(label, angle, generator)
        return view, generator.synthesis(ws, view, planes=planes)

    angles = [2 * math.pi * k / VIEWS for k in range(VIEWS)]
    views = [render(angle) for angle in angles]
    masks = [(out["opacity"][0, 0] > 0.5).cpu().numpy() for _, out in views]
    pelvis = generator.body.from_label(label).joints[:, :1]
    axis = float(project(pelvis, label)[0][0, 0, 0])
    overlaps = [opposite_overlap(masks[k], masks[k + VIEWS // 2], axis) for k in range(VIEWS // 2)]
    colors = [color_difference(*view, *render(angle + COLOR_ANGLE)) for view, angle in zip(views, angles, strict=True)]
    return {"silhouette": float(np.mean(overlaps)), "color": float(np.nanmean(colors))}


def opposite_overlap(front: np.ndarray, back: np.ndarray, axis: float) -> float:
    """IoU of a mask [r,r] and the mirrored mask from behind; both cameras see the turning axis at `axis` (of the width)."""
    side = front.shape[1]
    mirror = np.array([[-1.0, 0.0, 2 * axis * side - 1], [0.0, 1.0, 0.0]])
    mirrored = cv2.warpAffine(back.astype(np.float32), mirror, (side, side), flags=cv2.INTER_LINEAR) > 0.5
    return pose_metrics.iou(front, mirrored)


def color_difference(
    first_label: torch.Tensor,
    first: dict[str, torch.Tensor],
    second_label: torch.Tensor,
    second: dict[str, torch.Tensor],
) -> float:
    """Mean absolute difference (of 255) at the points that both of two cameras (labels [1,111]) see."""
    side = first["opacity"].shape[-1]
    points = unproject(first["image_depth"], first_label)
    pixels, distance = project(points, second_label)
    depth = sample_at(second["image_depth"], pixels, nearest=True)[..., 0]
    solid = (first["opacity"].flatten(1) > SOLID) & (sample_at(second["opacity"], pixels)[..., 0] > SOLID)
    shared = solid & _inside(pixels) & ((distance - depth).abs() < SAME_DEPTH)
    first_colors = resize(first["image"], side).flatten(2).transpose(1, 2)
    second_colors = sample_at(resize(second["image"], side), pixels)
    return float((first_colors - second_colors)[shared].abs().mean() * 127.5)


@torch.no_grad()
def temporal_consistency(generator: Generator, ws: torch.Tensor, track: torch.Tensor) -> float:
    """Flicker: mean difference (of 255) between the colours of a point of the body in two successive frames that show it.

    track: labels [F,111] of a motion; ws [1,…]. A person whose clothes keep their colours while they move has 0.
    """
    planes = generator.planes(ws)
    frames = [generator.synthesis(ws, label[None], planes=planes)["image"] for label in track]
    return color_changes(generator.body, track, frames)


def color_changes(body: Body, track: torch.Tensor, frames: Sequence[torch.Tensor]) -> float:
    """The same of frames [1,3,R,R] that show the labels [F,111]."""
    observed = [vertex_colors(body, label[None], frame) for label, frame in zip(track, frames, strict=True)]
    changes = [
        (after - before)[visible_before & visible_after].abs().mean()
        for (before, visible_before), (after, visible_after) in pairwise(observed)
        if bool((visible_before & visible_after).any())
    ]
    return float(torch.stack(changes).mean() * 127.5) if changes else float("nan")


def vertex_colors(body: Body, label: torch.Tensor, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours [V,3] at the body's vertices, and which of them the camera sees [V]."""
    side = frame.shape[-1]
    vertices = body.from_label(label).vertices
    pixels, distance = project(vertices, label)
    screen = torch.cat([pixels[0] * side, distance[0, :, None]], dim=1)
    depth = rasterize(screen, body.faces, side, side).depth
    column, row = (screen[:, k].long().clamp(0, side - 1) for k in range(2))
    visible = (distance[0] < depth[row, column] + SAME_DEPTH) & _inside(pixels[0])
    return sample_at(frame, pixels)[0], visible


@torch.no_grad()
def identity_consistency(generator: Generator, ws: torch.Tensor, label: torch.Tensor, models: Path) -> list[float]:
    """Of people ws [n,…], all with the body and pose of label [1,111]; empty for fewer than two.

    By the embedded network's features, not by a face recogniser. Equal bodies, poses and cameras leave clothes, hair and
    face to tell people apart.
    """
    if len(ws) < 2:
        return []
    embedding = next(embedding for embedding in EMBEDDINGS if embedding.name == MAIN_NETWORK)
    network = EmbeddedFeatures(embedding, models)
    views = [orbit_view(label, angle, generator) for angle in (-IDENTITY_ANGLE, IDENTITY_ANGLE)]
    images: list[list[np.ndarray]] = [[], []]
    for person in console.progress(ws.split(1), "identity", unit="person"):
        planes = generator.planes(person)
        for of_view, view in zip(images, views, strict=True):
            of_view += to_uint8(generator.synthesis(person, view, planes=planes)["image"])
    return identity_distances(*(network(of_view) for of_view in images))


def identity_distances(left: np.ndarray, right: np.ndarray) -> list[float]:
    """For each person's features [n,D] from two sides: the distance between the two, as a share of the mean distance to
    the others from the same two sides. 0: no difference; 1: no more alike than strangers. Nothing where all are equal."""
    distances = np.linalg.norm(left[:, None].astype(np.float64) - right[None], axis=2)  # [n,n]
    own = np.diagonal(distances)
    others = (distances.sum(0) + distances.sum(1) - 2 * own) / (2 * (len(own) - 1))
    return [float(a / b) for a, b in zip(own, others, strict=True) if b > 0]


def project(points: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """World points [B,N,3] seen by the labels' cameras [B,111]: places in the image [B,N,2], and distances [B,N]."""
    parts = labels.split(label)
    _, on_image = project_pinhole(points, parts.cam2world, parts.intrinsics)
    return on_image, (points - parts.cam2world[:, None, :3, 3]).norm(dim=-1)


def unproject(depth: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """World points [B,r·r,3] at the depths along the rays [B,1,r,r], row by row."""
    parts = labels.split(label)
    rays = camera_rays(parts.cam2world, parts.intrinsics, depth.shape[-1])
    return rays.origins + rays.directions * depth.flatten(1)[..., None]


def sample_at(images: torch.Tensor, pixels: torch.Tensor, nearest: bool = False) -> torch.Tensor:
    """Values [B,N,C] of images [B,C,H,W] at places [B,N,2]."""
    grid = (pixels * 2 - 1)[:, None]
    mode = "nearest" if nearest else "bilinear"
    values = F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    return values[:, :, 0].transpose(1, 2)


def _inside(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels > 0) & (pixels < 1)).all(-1)
