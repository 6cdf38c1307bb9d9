"""What each stage of the preprocessing gets right, person by person."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from ag3d.core.camera import project
from ag3d.core.shards import ShardReader
from ag3d.evaluation.results_reader import DatasetResults
from ag3d.evaluation.truth import pose_metrics
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.model.rendering.rasterizer import rasterize
from ag3d.preprocessing.alignment import window
from ag3d.preprocessing.normals.stage import body_backend, body_normals, encode, on_person

Errors = dict[str, list[float]]  # measure to a value per person
SILHOUETTE_SIDE = 384  # silhouettes are compared at this size (pixels, longer side)


@dataclass
class TruePerson:
    """The truth about one photograph."""

    name: str
    row: dict[str, Any]
    factor: float  # pixels of the photograph as the stages read it, per pixel of the truth
    standing_height: float  # the body's standing height in those pixels

    def points(self, key: str) -> np.ndarray:
        """joints_2d or landmarks_2d [n,2] in pixels as the stages read them."""
        return np.asarray(self.row[key], np.float64).reshape(-1, 2) * self.factor

    def tensor(self, key: str) -> torch.Tensor:
        return torch.from_numpy(np.array(self.row[key], np.float32))[None]


class StageComparison:
    """Compares the stages' results in a data set's folder with the truth."""

    def __init__(self, data: DatasetResults, truth: list[dict[str, Any]], maps: ShardReader, body: Body) -> None:
        self.data, self.maps, self.body = data, maps, body
        photos = data.table("photos")
        self.people: list[TruePerson] = []
        for row in truth:
            name = row["photo_id"]
            factor = photos.loc[name, "width"] / row["width"] if name in photos.index else 1.0
            betas = torch.from_numpy(np.array(row["betas"], np.float32))[None]
            standing_height = float(body.standing_height(betas)[0]) * row["half"] * (factor or 1.0)
            self.people.append(TruePerson(name, row, float(factor or 1.0), standing_height))
        self.errors: dict[str, Errors] = defaultdict(lambda: defaultdict(list))
        self.heights: list[tuple[float, float]] = []  # fitted and true, metres

    def add(self, stage: str, name: str, value: float | bool | None) -> None:
        if value is not None and np.isfinite(value):
            self.errors[stage][name].append(float(value))

    def mask(self, person: TruePerson) -> np.ndarray:
        """uint8 [H,W]: the person's share of each pixel of the truth's photograph."""
        return self.maps.image(f"{person.name}-mask.png")

    def compare(self, person: TruePerson) -> None:
        """All stages for one person."""
        self.compare_photo(person)
        self.compare_landmarks(person)
        self.compare_matte(person)
        self.compare_fit(person)
        self.compare_crop(person)

    def compare_photo(self, person: TruePerson) -> None:
        """Did it get through, and where did it stop."""
        table = self.data.table("photos")
        if person.name in table.index:
            self.add("photos", "readable", table.loc[person.name, "status"] == "ok")
        self.add("photos", "reached", person.name in set(self.data.people()))

    def compare_landmarks(self, person: TruePerson) -> None:
        table = self.data.table("people")
        if person.name not in table.index:
            self.add("people", "detected", 0)
            return
        row = table.loc[person.name]
        flat = row["landmarks_2d"]
        detected = flat is not None and not np.isscalar(flat) and len(flat) == 66
        self.add("people", "detected", detected)
        self.add("people", "accepted", row["status"] == "ok")
        if detected and row["status"] == "ok":
            landmarks = np.asarray(flat, np.float64).reshape(33, 2)
            errors = pose_metrics.landmark_errors(landmarks, person.points("joints_2d"), person.points("landmarks_2d"))
            self.add("people", "landmarks", errors.mean() / person.standing_height)
            self.add("people", "near", (errors < 0.05 * person.standing_height).mean())
            self.add("people", "swapped", pose_metrics.sides_swapped(landmarks, person.points("joints_2d")))

    def compare_matte(self, person: TruePerson) -> None:
        alpha = self.data.image("matting", f"{person.name}.png")
        if alpha is None:
            return
        size = (alpha.shape[1], alpha.shape[0])
        true = cv2.resize(self.mask(person), size, interpolation=cv2.INTER_AREA)
        self.add("matting", "overlap", pose_metrics.iou(alpha > 127, true > 127))
        self.add("matting", "kept", ((alpha > 127) & (true > 127)).sum() / max(1, (true > 127).sum()))
        error = pose_metrics.boundary_error(alpha > 127, true > 127)
        if error is not None:
            scale = alpha.shape[1] / person.row["width"]  # the matte's pixels per pixel of the truth
            self.add("matting", "boundary", error / (person.standing_height / person.factor * scale))
            self.add("matting", "boundary_512", error / (person.row["half"] * scale) * 256)
        self.add("matting", "alpha", np.abs(alpha.astype(float) - true).sum() / max(1.0, float(true.sum())))

    def compare_fit(self, person: TruePerson) -> None:
        table = self.data.table("fitting")
        if person.name not in table.index or table.loc[person.name, "status"] != "ok":
            return
        row = table.loc[person.name].to_dict()
        parts = [_tensor(row[name]) for name in ("betas", "body_pose", "global_orient", "transl")]
        with torch.no_grad():
            out = self.body(*parts)
        joints, true = out.joints[0].double().numpy(), np.asarray(person.row["joints_3d"], np.float64).reshape(24, 3)
        pixels = fit_pixels(out.joints[0], row)
        self.add("fitting", "reprojection", _mean_distance(pixels, person.points("joints_2d")) / person.standing_height)
        self.add("fitting", "mpjpe", 1000 * pose_metrics.mpjpe(joints, true))
        self.add("fitting", "pa_mpjpe", 1000 * pose_metrics.pa_mpjpe(joints, true))
        orients = (parts[2], person.tensor("global_orient"))
        rotations = [axis_angle_to_matrix(orient)[0].double().numpy() for orient in orients]
        self.add("fitting", "orientation", pose_metrics.rotation_angle(*rotations))
        self.add("fitting", "flipped", pose_metrics.facing_angle(*rotations) > 90)
        fitted, true_height = (float(self.body.standing_height(b)[0]) for b in (parts[0], person.tensor("betas")))
        self.heights.append((fitted, true_height))
        self.add("fitting", "height", 100 * abs(fitted - true_height))
        self.add("fitting", "silhouette", self._silhouette(out.vertices[0], row, person))

    def _silhouette(self, vertices: torch.Tensor, row: dict[str, Any], person: TruePerson) -> float:
        true = self.mask(person)
        share = min(1.0, SILHOUETTE_SIDE / max(true.shape))
        size = (round(true.shape[1] * share), round(true.shape[0] * share))
        screen = np.column_stack(
            [fit_pixels(vertices, row) * (size[0] / (person.row["width"] * person.factor)), vertices[:, 2]]
        )
        raster = rasterize(torch.from_numpy(screen).float(), self.body.faces, size[1], size[0])
        return pose_metrics.iou(
            (raster.face_index >= 0).numpy(), cv2.resize(true, size, interpolation=cv2.INTER_AREA) > 127
        )

    def compare_crop(self, person: TruePerson) -> None:
        """Alignment and normals, in the crop's window."""
        image, label = self.data.image("alignment", f"{person.name}.png"), self.data.labels().get(person.name)
        fits = self.data.table("fitting")
        if image is None or label is None or person.name not in fits.index:
            return
        row, side = fits.loc[person.name].to_dict(), len(image)
        with torch.no_grad():
            joints = self.body.from_label(torch.from_numpy(label)[None]).joints[0]
        centre = np.array([row["centre_x"], row["centre_y"]])
        true = ((person.points("joints_2d") - centre) / row["half"] + 1) * side / 2
        middle = torch.tensor([side / 2, side / 2])
        error = _mean_distance(project(joints.double(), middle[0], middle).numpy(), true)
        self.add("alignment", "joints", error)
        self.add("alignment", "joints_512", error * 512 / side)
        true_centre, true_half = tuple(centre / person.factor), row["half"] / person.factor
        mask = window(self.mask(person), true_centre, true_half, side, border=0)
        self.add("alignment", "overlap", pose_metrics.iou(image[..., 3] > 127, mask > 127))
        normal = self.data.image("normals", f"{person.name}.png")
        if normal is not None:
            reference = window(self.maps.image(f"{person.name}-normal.png"), true_centre, true_half, side, border=255)
            inside = (normal != 255).any(-1) & (mask > 250)
            angle = pose_metrics.normal_error(normal, reference, inside)
            self.add("normals", "angle", angle)
            body = self._body_error(image, label, reference, inside)
            self.add("normals", "body", body)
            self.add("normals", "gain", None if angle is None or not body else 1 - angle / body)

    def _body_error(
        self, crop: np.ndarray, label: np.ndarray, reference: np.ndarray, inside: np.ndarray
    ) -> float | None:
        """The error of normals that follow from the label's body alone; None where it does not meet the crop's matte."""
        try:
            normals = body_backend(crop, *body_normals(self.body, label, len(crop)))
        except ValueError:
            return None
        return pose_metrics.normal_error(encode(normals, on_person(crop)), reference, inside)


def fit_pixels(points: torch.Tensor, row: dict[str, Any]) -> np.ndarray:
    """World points [n,3] of a fit to pixels [n,2] of the photograph."""
    centre, half = torch.tensor([row["centre_x"], row["centre_y"]]), torch.tensor(row["half"])
    return project(points.double(), half.double(), centre.double()).numpy()


def _mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b, axis=1).mean())


def _tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(values, np.float32))[None]
