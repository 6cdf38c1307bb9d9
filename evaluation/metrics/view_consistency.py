"""Does a person stay the same when the camera goes round, and when they move."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
import torch

from ag3d.evaluation.metrics.camera import lift, look_up, project
from ag3d.evaluation.truth import pose_metrics
from ag3d.model.avatars.identities import turned
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.ops.resize import resize
from ag3d.model.rendering.rasterizer import rasterize

SIDES = 4  # directions that a person is seen from
STEP = math.radians(10)  # between the two cameras whose colours are compared
SOLID = 0.95
SAME = 0.02  # world units: nearer than this, two cameras see one place


@torch.no_grad()
def turning_errors(generator: Generator, ws: torch.Tensor, label: torch.Tensor) -> dict[str, float]:
    """Measures of a person (ws [1,…], label [1,111]) seen from all sides.

    `silhouette`: overlap (IoU) of the silhouettes from opposite sides, one mirrored: they are the same outline.
    `color`: mean difference (of 255) between the colours that two cameras ten degrees apart see at the same places.
    """
    planes = generator.planes(ws)

    def view(angle: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        seen = turned(label, angle, generator)
        return seen, generator.synthesis(ws, seen, planes=planes)

    angles = [2 * math.pi * k / SIDES for k in range(SIDES)]
    first = [view(angle) for angle in angles]
    masks = [(out["opacity"][0, 0] > 0.5).cpu().numpy() for _, out in first]
    pelvis = generator.body.from_label(label).joints[:, :1]
    middle = float(project(pelvis, label)[0][0, 0, 0])
    overlaps = [opposite_overlap(masks[k], masks[k + SIDES // 2], middle) for k in range(SIDES // 2)]
    colors = [color_difference(*before, *view(angle + STEP)) for before, angle in zip(first, angles, strict=True)]
    return {"silhouette": float(np.mean(overlaps)), "color": float(np.nanmean(colors))}


def opposite_overlap(front: np.ndarray, back: np.ndarray, middle: float) -> float:
    """IoU of a mask [r,r] and the mirrored mask from behind; both cameras see the axis at column `middle` (of the side)."""
    side = front.shape[1]
    mirror = np.array([[-1.0, 0.0, 2 * middle * side - 1], [0.0, 1.0, 0.0]])
    flipped = cv2.warpAffine(back.astype(np.float32), mirror, (side, side), flags=cv2.INTER_LINEAR) > 0.5
    return pose_metrics.iou(front, flipped)


def color_difference(
    label: torch.Tensor, out: dict[str, torch.Tensor], other: torch.Tensor, second: dict[str, torch.Tensor]
) -> float:
    """Mean absolute difference (of 255) at the places that two cameras (labels [1,111]) both see."""
    side = out["opacity"].shape[-1]
    points = lift(out["image_depth"], label)
    places, distance = project(points, other)
    depth = look_up(second["image_depth"], places, nearest=True)[..., 0]
    solid = look_up(second["opacity"], places)[..., 0] > SOLID
    inside = ((places > 0) & (places < 1)).all(-1)
    both = (out["opacity"].flatten(1) > SOLID) & solid & inside & ((distance - depth).abs() < SAME)
    here = resize(out["image"], side).flatten(2).transpose(1, 2)
    there = look_up(resize(second["image"], side), places)
    return float((here - there)[both].abs().mean() * 127.5)


@torch.no_grad()
def flicker(generator: Generator, ws: torch.Tensor, track: torch.Tensor) -> float:
    """Mean difference (of 255) between the colours of a place of the body in two successive frames, where both show it.

    track: labels [F,111] of a motion; ws [1,…]. A person whose clothes keep their colours while they move has 0.
    """
    planes = generator.planes(ws)
    frames = [generator.synthesis(ws, label[None], planes=planes)["image"] for label in track]
    return color_changes(generator.body, track, frames)


def color_changes(body: Body, track: torch.Tensor, frames: Sequence[torch.Tensor]) -> float:
    """The same of frames [1,3,R,R] that show the labels [F,111]."""
    looked = [_at_body(body, label[None], frame) for label, frame in zip(track, frames, strict=True)]
    changes = [
        (after - before)[seen & still].abs().mean()
        for (before, seen), (after, still) in pairwise(looked)
        if bool((seen & still).any())
    ]
    return float(torch.stack(changes).mean() * 127.5) if changes else float("nan")


def _at_body(body: Body, label: torch.Tensor, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colours [V,3] at the body's vertices, and which of them the camera sees [V]."""
    side = frame.shape[-1]
    vertices = body.from_label(label).vertices
    places, distance = project(vertices, label)
    screen = torch.cat([places[0] * side, distance[0, :, None]], dim=1)
    depth = rasterize(screen, body.faces, side, side).depth
    column, row = (screen[:, k].long().clamp(0, side - 1) for k in range(2))
    seen = (distance[0] < depth[row, column] + SAME) & ((places[0] > 0) & (places[0] < 1)).all(1)
    return look_up(frame, places)[0], seen
