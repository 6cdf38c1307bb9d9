"""Fit shape, pose and camera of many people at once: landmarks first, then the matte as well."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body.rotation import matrix_to_axis_angle
from ag3d.preprocessing.fitting.initialisation import initial_camera, initial_pose
from ag3d.preprocessing.fitting.objective import FitObjective, FitParams
from ag3d.preprocessing.fitting.observations import Observations
from ag3d.preprocessing.fitting.reduced_body import PointBody

# Errors of landmarks hang together, and those of scale and shape add to them: measured on synthetic people.
UNDERRATED = 2.4
SEARCH_EVERY = 4  # steps between searches for the points of the body that the outline belongs to


@dataclass
class FitResult(TensorDataclass):
    """Parameters of B people. A point X (metres) is seen at `origin + scale * X[:2] / (1 + X[2] / 100)` pixels."""

    betas: Tensor  # [B,10]
    body_pose: Tensor  # [B,69]
    global_orient: Tensor  # [B,3]
    scale: Tensor  # [B] pixels per metre
    origin: Tensor  # [B,2] pixels
    uncertainty: (
        Tensor  # [B,24] the joints' standard deviation (metres, from the pelvis); NaN where it was not asked for
    )


def fit_bodies(
    body: PointBody, observations: Observations, iterations: int, first_iterations: int = 100, samples: int = 0
) -> FitResult:
    """Fit `body` to people; `iterations` steps with the matte after `first_iterations` without. With `samples`, the joints'
    uncertainty is that of so many fits to landmarks moved by their usual errors."""
    orient, pose = initial_pose(observations.landmarks_3d, body.joints)
    betas = torch.zeros(len(pose), 10, device=pose.device)
    points, _ = body(betas, orient, pose, 33)
    weights = observations.weights * body.landmark_weights
    scale, origin = initial_camera(points, observations.landmarks_2d, weights)
    zero = torch.zeros_like(scale)
    params = FitParams(betas, pose, torch.zeros_like(orient[:, 0]), zero, torch.zeros_like(origin), zero)
    objective = FitObjective(body, observations, orient, scale, origin)
    params = minimise(objective, params, first_iterations, landmarks_only=True)
    if observations.silhouettes is not None:
        params = minimise(objective, params, iterations)
    uncertainty = _uncertainty(objective, params, iterations // 2, samples)
    orient, scale, origin = objective.camera(params)
    return FitResult(params.betas, params.body_pose, matrix_to_axis_angle(orient), scale, origin, uncertainty)


def minimise(objective: FitObjective, params: FitParams, iterations: int, landmarks_only: bool = False) -> FitParams:
    """Adam with a cosine schedule, on all parameters at once; people do not affect each other. What the outline's points
    belong to is searched every few steps (as in ICP)."""
    params = params.map(lambda value: value.detach().clone().requires_grad_(True))
    rate = 0.05 if landmarks_only else 0.02
    groups = (
        ((params.body_pose, params.rotation), rate),
        ((params.betas,), 2 * rate),
        ((params.log_scale, params.shift, params.log_size), rate / 2),
    )
    optimiser = torch.optim.Adam(
        [{"params": list(values), "lr": base, "base": base} for values, base in groups], betas=(0.9, 0.95)
    )
    matches = None
    for step in range(iterations):
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / iterations)))
        optimiser.zero_grad(set_to_none=True)
        energy, matches = objective.energy(params, landmarks_only, None if step % SEARCH_EVERY == 0 else matches)
        energy.sum().backward()
        optimiser.step()
    return params.map(Tensor.detach)


def _uncertainty(objective: FitObjective, params: FitParams, iterations: int, samples: int) -> Tensor:
    """Standard deviation [B,24] (metres) of the joints about the pelvis when the landmarks are moved at random."""
    people, device = len(objective.scale), objective.scale.device
    if samples < 2:
        return torch.full((people, 24), torch.nan, device=device)
    rows = torch.arange(people, device=device).repeat(samples)  # everybody, one round after another
    observed, params = objective.observations[rows], params[rows]
    orient, scale, origin = (value[rows] for value in (objective.orient, objective.scale, objective.origin))
    random = torch.Generator().manual_seed(0)

    def noise(std: Tensor) -> Tensor:
        return torch.randn(std.shape, generator=random).to(device) * std

    errors = noise(observed.landmark_std[..., None].expand(-1, -1, 2))
    observed = replace(
        observed,
        landmarks_2d=observed.landmarks_2d + errors * scale[:, None, None],
        landmarks_3d=observed.landmarks_3d + torch.nn.functional.pad(errors, (0, 1)),
        bone_depths=observed.bone_depths + noise(observed.bone_depth_std),
    )
    trials = FitObjective(objective.body, observed, orient, scale, origin)
    params = minimise(trials, params, iterations, landmarks_only=observed.silhouettes is None)
    _, joints = objective.body(params.betas, trials.camera(params)[0], params.body_pose, 1)
    about_pelvis = (joints - joints[:, :1]).unflatten(0, (samples, people))
    return UNDERRATED * about_pelvis.var(0).sum(2).sqrt()
