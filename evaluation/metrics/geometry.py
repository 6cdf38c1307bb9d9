"""Geometry and control of generated people: measures that ask the 3D model, and not how its pictures are distributed.

Here: the entries of all of them, PCK (do people do what their labels say) and mesh consistency (is the extracted mesh
what is rendered). What compares views and frames is in view_consistency.py.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ag3d.config import Evaluation
from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.evaluation.metrics.image_sets import channels_last, sample_inputs, to_uint8
from ag3d.evaluation.metrics.view_consistency import (
    SOLID,
    identity_consistency,
    project,
    temporal_consistency,
    view_consistency,
)
from ag3d.evaluation.truth import pose_metrics
from ag3d.model.avatars.mesh import canonical_mesh, posed_mesh
from ag3d.model.avatars.motion import motion_labels
from ag3d.model.avatars.motion_sources import built_in
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.rendering.rasterizer import render_normals
from ag3d.model.training.data import ZipDataset
from ag3d.preprocessing.people.blazepose import BlazePose
from ag3d.preprocessing.people.person_search import find_people

log = logging.getLogger(__name__)
WALK_FRAMES = 12  # per second and in all
PCK_THRESHOLD = 0.05  # of the standing height
MIN_DETECTOR_SIDE = 256  # pictures smaller than this are enlarged for the detector
MIN_SCORE = 0.5

# metric: measure, column of the tables, which way is better
COLUMNS = {
    "pck": ("pck", "PCK", "higher"),
    "pck_pixels": ("pck", "pixels", "lower"),
    "pck_share": ("pck", "% of height", "lower"),
    "mesh_consistency_angle": ("mesh_consistency", "normals °", "lower"),
    "mesh_consistency_overlap": ("mesh_consistency", "silhouette IoU", "higher"),
    "mesh_consistency_body": ("mesh_consistency", "to the body mm", ""),
    "mesh_consistency_body_p95": ("mesh_consistency", "95 % mm", ""),
    "view_consistency_silhouette": ("view_consistency", "opposite IoU", "higher"),
    "view_consistency_color": ("view_consistency", "colour", "lower"),
    "view_consistency_identity": ("view_consistency", "identity", "lower"),
    "temporal_consistency": ("temporal_consistency", "flicker", "lower"),
}


@dataclass
class GeneratedPeople:
    """The people that are measured: the same ones for the same seed."""

    generator: Generator
    settings: Evaluation
    label: torch.Tensor  # [n,111]
    ws: torch.Tensor
    values: dict[str, list[float]] = field(default_factory=dict)  # metric to a value of each person

    @staticmethod
    @torch.no_grad()
    def sample(generator: Generator, poses: np.ndarray, settings: Evaluation) -> GeneratedPeople:
        device = next(generator.parameters()).device
        z, label = sample_inputs(poses, settings.num_geometry_people, generator.settings.z_dim, settings.seed)
        return GeneratedPeople(generator, settings, label.to(device), generator.mapping(z.to(device)))

    def measure(self, name: str, of_person: Callable[[torch.Tensor, torch.Tensor], dict[str, float]]) -> None:
        """Apply `of_person` to the ws and label of everybody. Who has no surface is left out."""
        for ws, label in console.progress(list(zip(self.ws.split(1), self.label.split(1))), name, unit="person"):
            try:
                measured = of_person(ws, label)
            except UserError as error:
                log.warning("%s: %s", name, error)
                continue
            for part, value in measured.items():
                if np.isfinite(value):
                    self.values.setdefault(f"{name}_{part}" if part else name, []).append(value)


def measure_geometry(
    generator: Generator, poses: np.ndarray, data: list[Path], models: Path, settings: Evaluation
) -> dict[str, dict[str, Any]]:
    """The measures that the settings ask for: metric to its entry."""
    people = GeneratedPeople.sample(generator, poses, settings)
    floors: dict[str, float] = {}
    metrics = settings.metrics
    if "pck" in metrics:
        floors = _measure_pck(people, data, models)
    if "mesh_consistency" in metrics:
        people.measure("mesh_consistency", lambda ws, label: mesh_consistency(generator, ws, label, settings.voxels))
    if "view_consistency" in metrics:
        people.measure("view_consistency", lambda ws, label: view_consistency(generator, ws, label))
        if distances := identity_consistency(generator, people.ws, people.label[:1], models):
            people.values["view_consistency_identity"] = distances
    if "temporal_consistency" in metrics:
        people.measure("temporal_consistency", lambda ws, label: {"": temporal_consistency(generator, ws, walk(label))})
    return {name: _entry(name, values, floors.get(name)) for name, values in people.values.items()}


def walk(label: torch.Tensor) -> torch.Tensor:
    """Labels [F,111] of a walking person with the shape of label [1,111]."""
    motion = built_in("walk").resampled(WALK_FRAMES)
    return motion_labels(motion, labels.split(label).betas[0].cpu())[:WALK_FRAMES].to(label.device)


def _entry(name: str, values: list[float], floor: float | None) -> dict[str, Any]:
    measure, column, better = COLUMNS[name]
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {
        "value": float(np.mean(values)),
        "deviation": error,
        "table": "geometry",
        "column": column,
        "better": better,
        "measure": measure,
        "floor": floor,
        "fakes": len(values),
        "reals": 0,
        "main": True,
    }


def _measure_pck(people: GeneratedPeople, data: list[Path], models: Path) -> dict[str, float]:
    """Pose errors of the people; returns those of as many photographs, which tell how good detector and labels are."""
    net = BlazePose(models)
    generator, settings = people.generator, people.settings
    images: list[np.ndarray] = []
    for ws, label in zip(people.ws.split(settings.batch), people.label.split(settings.batch)):
        with torch.no_grad():
            images += to_uint8(generator.synthesis(ws, label)["image"])
    body = generator.body.to("cpu")
    people.values |= pose_errors(net, body, images, people.label)
    dataset = ZipDataset(data, generator.settings.image_resolution, cache_bytes=0)
    count = min(len(dataset), settings.num_geometry_people)
    items = [dataset[int(k)] for k in np.linspace(0, len(dataset) - 1, count).round().astype(int)]
    photographs = [channels_last(item.image) for item in items]
    errors = pose_errors(net, body, photographs, torch.from_numpy(np.stack([item.label for item in items])))
    return {name: float(np.mean(values)) for name, values in errors.items()}


def pose_errors(
    net: BlazePose, body: Body, images: Iterable[np.ndarray], label: torch.Tensor
) -> dict[str, list[float]]:
    """Of pictures uint8 [R,R,3] whose people should be posed as label [n,111]: the share of landmarks within PCK_THRESHOLD
    (`pck`), and their mean distance in pixels and in percent of the standing height, of people who are found."""
    errors: dict[str, list[float]] = defaultdict(list)
    for image, of_image in zip(images, label, strict=True):
        joints, face, standing_height = expected_landmarks(body, of_image.cpu(), len(image))
        landmarks = detect_landmarks(net, image)
        if landmarks is None:
            errors["pck"].append(0.0)
            continue
        distances = pose_metrics.landmark_errors(landmarks, joints, face)
        errors["pck"].append(float((distances < PCK_THRESHOLD * standing_height).mean()))
        errors["pck_pixels"].append(float(distances.mean()))
        errors["pck_share"].append(100 * float(distances.mean() / standing_height))
    return errors


def expected_landmarks(body: Body, label: torch.Tensor, side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Joints [24,2] and face landmarks [5,2] of a label [111] in pixels of a picture, and the standing height there."""
    posed = body.from_label(label[None])
    points, _ = project(torch.cat([posed.joints, posed.landmarks], dim=1), label[None])
    parts = labels.split(label[None])
    # The camera shows x and y of [-1,1], so that a unit of the world is half a side.
    standing_height = float(body.standing_height(parts.betas)[0] * parts.scale[0]) * side / 2
    pixels = points[0].numpy().astype(np.float64) * side
    return pixels[:24], pixels[24:], standing_height


def detect_landmarks(net: BlazePose, image: np.ndarray) -> np.ndarray | None:
    """The main person's 33 landmarks [33,2] in pixels; None where nobody is found."""
    factor = max(1.0, MIN_DETECTOR_SIDE / len(image))
    if factor > 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    people = find_people(net, image, MIN_SCORE).people
    return people[0].landmarks_2d.astype(np.float64) / factor if people else None


@torch.no_grad()
def mesh_consistency(generator: Generator, ws: torch.Tensor, label: torch.Tensor, voxels: int) -> dict[str, float]:
    """Measures of a person (ws [1,…], label [1,111]) whose mesh has `voxels` along its longest side.

    `angle`: degrees between rendered normals and the posed mesh's, where both are; `overlap`: of the two silhouettes
    (IoU); `body` and `body_p95`: millimetres between mesh and body in the canonical pose, mean and 95 % point.
    Raises UserError where there is no surface.
    """
    planes = generator.planes(ws)
    mesh = canonical_mesh(generator, planes, voxels)
    points = torch.from_numpy(np.asarray(mesh.vertices)).float().to(label.device)
    distance = generator.deformer.body_sdf(points)[0].abs().clamp_max(1.0)
    rendered = generator.synthesis(ws, label, planes=planes)
    # The mesh comes upright, y up; the label's world has y down and z away.
    vertices = torch.from_numpy(np.asarray(posed_mesh(generator, mesh, label).vertices) * [1.0, -1.0, -1.0]).float()
    faces = torch.from_numpy(np.asarray(mesh.faces)).long()
    normals, mask = render_normals(vertices, faces, rendered["opacity"].shape[-1])
    opacity = rendered["opacity"][0, 0].cpu()
    return {
        "angle": mean_angle(rendered["image_normal"][0].permute(1, 2, 0).cpu(), normals, mask & (opacity > SOLID)),
        "overlap": pose_metrics.iou((opacity > 0.5).numpy(), mask.numpy()),
        "body": 1000 * float(distance.mean()),
        "body_p95": 1000 * float(distance.quantile(0.95)) if len(distance) < 1 << 24 else float("nan"),
    }


def mean_angle(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> float:
    """Degrees between vectors [H,W,3] on the mask [H,W]; not a number where that is empty."""
    cosine = (F.normalize(a[mask], dim=-1) * F.normalize(b[mask], dim=-1)).sum(-1)
    return float(torch.rad2deg(torch.arccos(cosine.clamp(-1, 1))).mean())
