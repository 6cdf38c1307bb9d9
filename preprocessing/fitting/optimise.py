"""Fit shape, pose and camera of many people at once: landmarks first, then the matte as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ag3d.model.body.rotation import matrix_to_axis_angle
from ag3d.preprocessing.fitting import initialisation
from ag3d.preprocessing.fitting.objective import Observed, Problem, Unknown
from ag3d.preprocessing.fitting.reduced_body import PointBody

UNDERRATED = (
    2.4  # errors of landmarks hang together and those of scale and shape add to them: measured on synthetic people
)
SEARCH = 4  # steps between searches for the points of the body that the outline belongs to


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
    orient, pose = initialisation.initial_pose(seen.landmarks_3d, body.joints)
    betas = torch.zeros(len(pose), 10, device=pose.device)
    points, _ = body(betas, orient, pose, 33)
    scale, origin = initialisation.initial_camera(points, seen.landmarks_2d, seen.weights * body.landmark_weights)
    problem = Problem(body, seen, orient, scale, origin)
    unknown = {
        "betas": betas,
        "pose": pose,
        "turn": torch.zeros_like(orient[:, 0]),
        "log_scale": torch.zeros_like(scale),
        "shift": torch.zeros_like(origin),
        "log_size": torch.zeros_like(scale),
    }
    descend(problem, unknown, first_iterations, with_matte=False)
    if seen.mattes is not None:
        descend(problem, unknown, iterations, with_matte=True)
    spread = _spread(problem, unknown, iterations // 2, samples)
    orient, scale, origin = problem.camera(unknown)
    found = {name: value.detach() for name, value in unknown.items()}
    return Fit(found["betas"], found["pose"], matrix_to_axis_angle(orient), scale, origin, spread)


def descend(problem: Problem, unknown: Unknown, iterations: int, with_matte: bool) -> None:
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
        problem.energy(unknown, with_matte, step % SEARCH == 0).sum().backward()
        optimiser.step()
    for value in unknown.values():
        value.requires_grad_(False)


def _spread(problem: Problem, unknown: Unknown, iterations: int, samples: int) -> Tensor:
    """Standard deviation [B,24] (metres) of the joints about the pelvis when the landmarks are moved at random."""
    people, device = len(problem.scale), problem.scale.device
    if samples < 2:
        return torch.full((people, 24), torch.nan, device=device)
    seen = problem.seen.repeated(samples)
    random = torch.Generator().manual_seed(0)

    def noise(deviations: Tensor) -> Tensor:
        return torch.randn(deviations.shape, generator=random).to(device) * deviations

    flat = noise(seen.sigmas[..., None].expand(-1, -1, 2))
    pixels = flat * problem.scale.repeat(samples)[:, None, None]
    moved = replace(
        seen,
        landmarks_2d=seen.landmarks_2d + pixels,
        landmarks_3d=seen.landmarks_3d + torch.nn.functional.pad(flat, (0, 1)),
        depths=seen.depths + noise(seen.spreads),
    )
    trials = problem.repeated(samples, moved)
    trial = {name: torch.cat([value.detach()] * samples) for name, value in unknown.items()}
    descend(trials, trial, iterations, with_matte=seen.mattes is not None)
    with torch.no_grad():
        _, joints = problem.body(trial["betas"], trials.camera(trial)[0], trial["pose"], 1)
    found = (joints - joints[:, :1]).unflatten(0, (samples, people))
    return UNDERRATED * found.var(0).sum(2).sqrt()
