"""Geometry and control of generated people: measures that ask the 3D model, and not how its pictures are distributed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ag3d.config import Evaluation
from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.evaluation.metrics.generated_images import draw
from ag3d.evaluation.metrics.identity_consistency import identity_shares
from ag3d.evaluation.metrics.mesh_consistency import surface_errors
from ag3d.evaluation.metrics.neighbour_picture import to_bytes
from ag3d.evaluation.metrics.pose_accuracy import PoseErrors, pose_errors
from ag3d.evaluation.metrics.view_consistency import flicker, turning_errors
from ag3d.model.avatars.motion import motion_labels
from ag3d.model.avatars.procedural_motion import built_in
from ag3d.model.body import label as labels
from ag3d.model.generator import Generator
from ag3d.model.training.dataset import ZipDataset
from ag3d.preprocessing.people.blazepose import BlazePose

log = logging.getLogger(__name__)
FRAMES = 12  # of the walk, per second and in all
# Measure: the word for it in the conditions that protocol ids are made of, so that it must stay as it is.
MEASURES = {
    "pck": "pose",
    "mesh_consistency": "surface",
    "view_consistency": "turning",
    "temporal_consistency": "flicker",
}

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
class Crowd:
    """The people that are measured: the same ones for the same seed."""

    generator: Generator
    settings: Evaluation
    label: torch.Tensor  # [n,111]
    ws: torch.Tensor
    values: dict[str, list[float]] = field(default_factory=dict)

    @staticmethod
    @torch.no_grad()
    def drawn(generator: Generator, poses: np.ndarray, settings: Evaluation) -> Crowd:
        device = next(generator.parameters()).device
        z, label = draw(poses, settings.num_geometry_people, generator.settings.z_dim, settings.seed)
        return Crowd(generator, settings, label.to(device), generator.mapping(z.to(device)))

    def each(self, what: str, measure: Callable[[torch.Tensor, torch.Tensor], dict[str, float]]) -> None:
        """Apply `measure` to everybody. Who has no surface is left out, and counted by `people`."""
        for ws, label in console.progress(list(zip(self.ws.split(1), self.label.split(1))), what, unit="person"):
            try:
                found = measure(ws, label)
            except UserError as error:
                log.warning("%s: %s", what, error)
                continue
            for name, value in found.items():
                if np.isfinite(value):
                    self.values.setdefault(f"{what}_{name}" if name else what, []).append(value)


def measures(
    generator: Generator, poses: np.ndarray, data: list[Path], models: Path, settings: Evaluation
) -> dict[str, dict[str, Any]]:
    """The measures that the settings ask for: metric to its entry."""
    crowd = Crowd.drawn(generator, poses, settings)
    floors: dict[str, float] = {}
    wanted = settings.metrics
    if "pck" in wanted:
        floors = _pose(crowd, data, models)
    if "mesh_consistency" in wanted:
        crowd.each("mesh_consistency", lambda ws, label: surface_errors(generator, ws, label, settings.voxels))
    if "view_consistency" in wanted:
        crowd.each("view_consistency", lambda ws, label: turning_errors(generator, ws, label))
        if shares := identity_shares(generator, crowd.ws, crowd.label[:1], models):
            crowd.values["view_consistency_identity"] = shares
    if "temporal_consistency" in wanted:
        crowd.each("temporal_consistency", lambda ws, label: {"": flicker(generator, ws, walk(label))})
    return {name: _entry(name, values, crowd, floors) for name, values in crowd.values.items()}


def walk(label: torch.Tensor) -> torch.Tensor:
    """Labels [F,111] of a walking person with the shape of label [1,111]."""
    motion = built_in("walk").resampled(FRAMES)
    return motion_labels(motion, labels.split(label).betas[0].cpu())[:FRAMES].to(label.device)


def _pose(crowd: Crowd, data: list[Path], models: Path) -> dict[str, float]:
    """Pose errors of the crowd; returns those of as many photographs, which tell how good detector and labels are."""
    net = BlazePose(models)
    generator, batch = crowd.generator, crowd.settings.batch
    pictures: list[np.ndarray] = []
    for ws, label in zip(crowd.ws.split(batch), crowd.label.split(batch)):
        with torch.no_grad():
            pictures += to_bytes(generator.synthesis(ws, label)["image"])
    body = generator.body.to("cpu")
    crowd.values |= _pose_values(pose_errors(net, body, pictures, crowd.label))
    photographs = ZipDataset(data, generator.settings.image_resolution, cache_bytes=0)
    chosen = (
        np.linspace(0, len(photographs) - 1, min(len(photographs), crowd.settings.num_geometry_people))
        .round()
        .astype(int)
    )
    items = [photographs[int(k)] for k in chosen]
    real = pose_errors(
        net,
        body,
        [np.ascontiguousarray(item.image.transpose(1, 2, 0)) for item in items],
        torch.from_numpy(np.stack([item.label for item in items])),
    )
    return {name: float(np.mean(values)) for name, values in _pose_values(real).items()}


def _pose_values(errors: PoseErrors) -> dict[str, list[float]]:
    share = [100 * value for value in errors.share]
    found = {"pck": errors.near, "pck_pixels": errors.pixels, "pck_share": share}
    return {name: values for name, values in found.items() if values}


def _entry(name: str, values: list[float], crowd: Crowd, floors: dict[str, float]) -> dict[str, Any]:
    measure, column, better = COLUMNS[name]
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {
        "value": float(np.mean(values)),
        "deviation": error,
        "table": "geometry",
        "column": column,
        "better": better,
        "measure": measure,
        "floor": floors.get(name),
        "fakes": len(values),
        "reals": 0,
        "main": True,
    }


def asked(wanted: Iterable[str]) -> bool:
    """Whether any of the measures is wanted."""
    return not MEASURES.keys().isdisjoint(wanted)
