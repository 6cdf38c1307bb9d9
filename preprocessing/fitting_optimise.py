"""Fit shape, pose and camera of many people at once: landmarks first, then the matte as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ag3d.model.body.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from ag3d.preprocessing import fitting_calibration, fitting_prior, fitting_silhouette, fitting_start
from ag3d.preprocessing import fitting_points as P
from ag3d.preprocessing.fitting_points import PointBody
from ag3d.preprocessing.fitting_silhouette import Silhouettes

CAMERA_DISTANCE = 100.0  # world units, as in the labels
# Expected errors, which make the terms comparable.
SIGMA_3D, SIGMA_MATTE, SIGMA_OUTLINE = 0.1, 0.015, 0.05  # metres
SIGMA_LIMIT, SIGMA_POSE, SIGMA_SIZE = 0.05, 0.5, 0.1  # radians, radians, logarithm
WEIGHT_3D, WEIGHT_DEPTH, WEIGHT_MATTE, WEIGHT_OUTLINE, WEIGHT_BETAS = 0.25, 1.0, 120.0, 60.0, 0.4
UNDERRATED = (
    2.0  # errors of landmarks hang together and those of scale and shape add to them: measured on synthetic people
)
WIDER = 2.5  # landmarks count as that much less exact while the pose is still far off


@dataclass
class Observed:
    """What is known of B people. Pixels are those of the photograph."""

    landmarks_2d: Tensor  # [B,33,2] pixels
    landmarks_3d: Tensor  # [B,33,3] metres, x right, y down, z away
    weights: Tensor  # [B,33]
    mattes: Silhouettes | None = None

    def to(self, device: torch.device | str) -> Observed:
        mattes = None if self.mattes is None else self.mattes.to(device)
        return Observed(self.landmarks_2d.to(device), self.landmarks_3d.to(device), self.weights.to(device), mattes)


@dataclass
class Fit:
    """Parameters of B people. A point X (metres) is seen at `origin + scale * X[:2] / (1 + X[2] / 100)` pixels."""

    betas: Tensor  # [B,10]
    body_pose: Tensor  # [B,69]
    global_orient: Tensor  # [B,3]
    scale: Tensor  # [B] pixels per metre
    origin: Tensor  # [B,2] pixels
    spread: Tensor  # [B,24] standard deviation of the joints (metres, from the pelvis), NaN where it was not asked for


def fit(body: PointBody, seen: Observed, iterations: int, first_iterations: int = 100, samples: int = 0) -> Fit:
    """Fit `body` to what was `seen`; `iterations` steps with the matte after `first_iterations` without. With `samples`,
    the joints' spread is that of so many fits to landmarks moved by their usual errors."""
    weights = seen.weights * body.landmark_weights
    orient, pose = fitting_start.initial_pose(seen.landmarks_3d, body.joints)
    betas = torch.zeros(len(pose), 10, device=pose.device)
    points, _ = body(betas, orient, pose)
    scale, origin = fitting_start.initial_camera(points[:, :33], seen.landmarks_2d, weights)
    unknown = {
        "betas": betas,
        "pose": pose,
        "turn": torch.zeros_like(orient[:, 0]),
        "log_scale": torch.zeros_like(scale),
        "shift": torch.zeros_like(origin),
        "log_size": torch.zeros_like(scale),
    }
    start = (orient, scale, origin)
    _descend(body, seen, weights, unknown, start, first_iterations, with_matte=False)
    if seen.mattes is not None:
        _descend(body, seen, weights, unknown, start, iterations, with_matte=True)
    spread = _spread(body, seen, weights, unknown, start, iterations // 2, samples)
    orient, scale, origin = _camera(unknown, start)
    found = {name: value.detach() for name, value in unknown.items()}
    return Fit(found["betas"], found["pose"], matrix_to_axis_angle(orient), scale, origin, spread)


def _spread(
    body: PointBody,
    seen: Observed,
    weights: Tensor,
    unknown: dict[str, Tensor],
    start: tuple[Tensor, Tensor, Tensor],
    iterations: int,
    samples: int,
) -> Tensor:
    """Standard deviation [B,24] (metres) of the joints about the pelvis when the landmarks are moved at random."""
    if samples < 2:
        return torch.full((len(weights), 24), torch.nan, device=weights.device)
    random = torch.Generator().manual_seed(0)
    found = []
    for _ in range(samples):
        noise = torch.randn(*seen.landmarks_3d.shape, generator=random).to(weights.device)
        metres = noise * fitting_calibration.deviations(seen.weights)
        pixels = metres[..., :2] * start[1][:, None, None]
        moved = replace(seen, landmarks_2d=seen.landmarks_2d + pixels, landmarks_3d=seen.landmarks_3d + metres)
        trial = {name: value.detach().clone() for name, value in unknown.items()}
        _descend(body, moved, weights, trial, start, iterations, with_matte=seen.mattes is not None)
        _, joints = body(trial["betas"], _camera(trial, start)[0], trial["pose"])
        found.append((joints - joints[:, :1]).detach())
    return UNDERRATED * torch.stack(found).var(0).sum(2).sqrt()


def project(points: Tensor, scale: Tensor, origin: Tensor) -> Tensor:
    """Pixels [B,P,2] of points [B,P,3] in metres."""
    return origin[:, None] + scale[:, None, None] * points[..., :2] / (1 + points[..., 2:] / CAMERA_DISTANCE)


def _camera(unknown: dict[str, Tensor], start: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    orient, scale, origin = start
    grown = scale * unknown["log_scale"].exp()
    return axis_angle_to_matrix(unknown["turn"]) @ orient, grown, origin + unknown["shift"] * scale[:, None]


def _descend(
    body: PointBody,
    seen: Observed,
    weights: Tensor,
    unknown: dict[str, Tensor],
    start: tuple[Tensor, Tensor, Tensor],
    iterations: int,
    with_matte: bool,
) -> None:
    """Adam with a cosine schedule, on every unknown at once; people do not affect each other."""
    for value in unknown.values():
        value.requires_grad_(True)
    rate = 0.02 if with_matte else 0.05
    optimiser = torch.optim.Adam(
        [
            {"params": [unknown["pose"], unknown["turn"]], "lr": rate, "base": rate},
            {"params": [unknown["betas"]], "lr": 2 * rate, "base": 2 * rate},
            {"params": [unknown[k] for k in ("log_scale", "shift", "log_size")], "lr": rate / 2, "base": rate / 2},
        ],
        betas=(0.9, 0.95),
    )
    for step in range(iterations):
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / iterations)))
        optimiser.zero_grad(set_to_none=True)
        energy(body, seen, weights, unknown, start, with_matte).sum().backward()
        optimiser.step()
    for value in unknown.values():
        value.requires_grad_(False)


def energy(
    body: PointBody,
    seen: Observed,
    weights: Tensor,
    unknown: dict[str, Tensor],
    start: tuple[Tensor, Tensor, Tensor],
    with_matte: bool,
) -> Tensor:
    """The sum of all terms for each person, [B]."""
    orient, scale, origin = _camera(unknown, start)
    points, _ = body(unknown["betas"], orient, unknown["pose"])
    pixels = project(points if with_matte else points[:, :33], scale, origin)
    metres = scale.detach()[:, None]
    apart = (pixels[:, :33] - seen.landmarks_2d).square().sum(2) / (
        metres * fitting_calibration.SIGMAS.to(pixels)
    ).square()
    landmarks_3d = seen.landmarks_3d * unknown["log_size"].exp()[:, None, None]
    miss_2d = _bounded(apart) if with_matte else _robust(apart / WIDER**2)
    miss_3d = _robust(_miss_3d(points[:, :33], landmarks_3d) / SIGMA_3D**2)
    total = (weights * (miss_2d + WEIGHT_3D * miss_3d)).sum(1)
    deep = _robust(fitting_calibration.misses(points[:, :33], landmarks_3d).square())
    total = total + WEIGHT_DEPTH * (fitting_calibration.trust(seen.weights) * deep).sum(1)
    total = total + fitting_prior.limits(unknown["pose"]) / SIGMA_LIMIT**2
    total = total + fitting_prior.unusual(unknown["pose"]) / SIGMA_POSE**2
    total = total + WEIGHT_BETAS * unknown["betas"].square().sum(1) + (unknown["log_size"] / SIGMA_SIZE).square()
    if with_matte and seen.mattes is not None:
        out = fitting_silhouette.outside(pixels[:, 33:], seen.mattes) / (metres * SIGMA_MATTE)
        total = total + WEIGHT_MATTE * _robust(out.square()).mean(1)
        gap = (fitting_silhouette.to_outline(pixels[:, 33:], seen.mattes) / (metres * SIGMA_OUTLINE)).square()
        capped = seen.mattes.contour_weight * gap / (1 + gap)
        total = total + WEIGHT_OUTLINE * capped.mean(1)
    return total


def _miss_3d(points: Tensor, landmarks: Tensor) -> Tensor:
    """Squared distances [B,33] (m²) in the picture's plane after both are centred between the hips."""
    hips = [P.LEFT_HIP, P.RIGHT_HIP]
    difference = (points - points[:, hips].mean(1, keepdim=True)) - (
        landmarks - landmarks[:, hips].mean(1, keepdim=True)
    )
    return difference[..., :2].square().sum(2)


def _bounded(squared: Tensor) -> Tensor:
    """Squares near zero that hardly grow beyond 3 sigma (Cauchy's): a landmark may be wrong altogether."""
    return 8 * torch.log1p(squared / 8)


def _robust(squared: Tensor) -> Tensor:
    """Squares near zero, absolute values far away (pseudo-Huber with its knee at 2 sigma)."""
    return 8 * ((1 + squared / 4).sqrt() - 1)
