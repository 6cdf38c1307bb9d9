"""What a fit is judged by: landmarks, matte, what joints can do, and that no part of the body passes through another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ag3d.core.camera import project
from ag3d.core.landmarks import Landmark
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting import pose_prior
from ag3d.preprocessing.fitting.landmark_model import bone_depths
from ag3d.preprocessing.fitting.observations import Observations, Silhouettes
from ag3d.preprocessing.fitting.reduced_body import PointBody

# Expected errors, which make the terms comparable.
SIGMA_3D, SIGMA_MATTE, SIGMA_OUTLINE, SIGMA_CONTACT = 0.1, 0.015, 0.05, 0.02  # metres
SIGMA_LIMIT, SIGMA_POSE, SIGMA_SIZE = 0.05, 0.5, 0.1  # radians, radians, logarithm
WEIGHT_3D, WEIGHT_DEPTH, WEIGHT_MATTE, WEIGHT_OUTLINE, WEIGHT_BETAS = 0.25, 1.0, 120.0, 240.0, 0.8
WIDER = 2.5  # landmarks count as that much less exact while the pose is still far off


@dataclass
class FitParams(TensorDataclass):
    """What is optimised, for B people."""

    betas: Tensor  # [B,10]
    body_pose: Tensor  # [B,69]
    rotation: Tensor  # [B,3] axis-angle, after the objective's own orientation
    log_scale: Tensor  # [B] of the objective's own scale
    shift: Tensor  # [B,2] metres, of the objective's own origin
    log_size: Tensor  # [B] of the body, relative to that of the 3D landmarks


@dataclass
class FitObjective:
    """A body to be fitted to observations of B people, and the camera that the parameters are relative to."""

    body: PointBody
    observations: Observations
    orient: Tensor  # [B,3,3]
    scale: Tensor  # [B] pixels per metre
    origin: Tensor  # [B,2] pixels

    def camera(self, params: FitParams) -> tuple[Tensor, Tensor, Tensor]:
        """Orientation [B,3,3], pixels per metre [B], the origin's pixel [B,2]."""
        orient = axis_angle_to_matrix(params.rotation) @ self.orient
        return orient, self.scale * params.log_scale.exp(), self.origin + params.shift * self.scale[:, None]

    def energy(
        self, params: FitParams, landmarks_only: bool = False, matches: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The sum of all terms for each person [B], and the surface's samples that the outline's points belong to
        [B,CONTOUR]: `matches` where they are given, as between the searches of ICP, else the nearest.

        With `landmarks_only` the body is 33 points and no more, which are still far off.
        """
        body, observed = self.body, self.observations
        orient, scale, origin = self.camera(params)
        points, _ = body(params.betas, orient, params.body_pose, 33 if landmarks_only else None)
        pixels, landmarks = project(points, scale, origin), points[:, :33]
        metres, size = scale.detach()[:, None], params.log_size.exp()[:, None]
        error_2d = (pixels[:, :33] - observed.landmarks_2d).square().sum(2) / (metres * observed.landmark_std).square()
        loss_2d = _pseudo_huber(error_2d / WIDER**2) if landmarks_only else _cauchy(error_2d)
        error_3d = _flat_difference(landmarks, size[..., None] * observed.landmarks_3d) / SIGMA_3D**2
        weights = observed.weights * body.landmark_weights
        total = (weights * (loss_2d + WEIGHT_3D * _pseudo_huber(error_3d))).sum(1)
        depth_error = (bone_depths(landmarks) - size * observed.bone_depths) / observed.bone_depth_std
        total = total + WEIGHT_DEPTH * _pseudo_huber(depth_error.square()).sum(1)
        total = total + pose_prior.limit_violation(params.body_pose) / SIGMA_LIMIT**2
        total = total + pose_prior.unusualness(params.body_pose) / SIGMA_POSE**2
        total = total + WEIGHT_BETAS * params.betas.square().sum(1) + (params.log_size / SIGMA_SIZE).square()
        if landmarks_only:
            return total, None
        depth = overlap(points[:, body.centres], body.min_distance)
        total = total + depth.square().sum((1, 2)) / SIGMA_CONTACT**2
        if observed.silhouettes is None:
            return total, None
        surface, silhouettes = pixels[:, body.surface], observed.silhouettes
        outside = distance_to_matte(surface, silhouettes) / (metres * SIGMA_MATTE)
        total = total + WEIGHT_MATTE * _pseudo_huber(outside.square()).mean(1)
        if matches is None:
            matches = match_outline(surface, silhouettes)
        gap = (distance_to_outline(surface, matches, silhouettes) / (metres * SIGMA_OUTLINE)).square()
        total = total + WEIGHT_OUTLINE * (silhouettes.contour_weight * gap / (1 + gap)).mean(1)
        return total, matches


def hip_centre(landmarks: Tensor) -> Tensor:
    """The middle [B,1,3] between the hips of landmarks [B,33,3]."""
    return (landmarks[:, Landmark.LEFT_HIP, None] + landmarks[:, Landmark.RIGHT_HIP, None]) / 2


def overlap(centres: Tensor, min_distance: Tensor) -> Tensor:
    """How deep (metres) spheres lie in each other, [B,S,S], of centres [B,S,3] that should be `min_distance` [S,S] apart."""
    distance = torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")
    return (min_distance - distance).clamp_min(0)


def distance_to_matte(pixels: Tensor, silhouettes: Silhouettes) -> Tensor:
    """Distance (pixels) of projected points [B,S,2] to the matte, 0 inside it and outside the photograph, [B,S]."""
    on_map = (pixels - silhouettes.corner[:, None]) / silhouettes.side[:, None, None] * 2 - 1
    safe = on_map.nan_to_num(2.0).clamp(-2, 2)  # grid_sample must never see what is not finite
    near = grid_sample(silhouettes.distance, safe[:, None], align_corners=False, padding_mode="border")[:, 0, 0]
    in_photo = ((pixels.detach() > 0) & (pixels.detach() < silhouettes.photo_size[:, None])).all(2)
    beyond = (on_map.abs() - 1).clamp_min(0).norm(dim=2) * silhouettes.side[:, None] / 2
    return (near + beyond) * in_photo


@torch.no_grad()
def match_outline(pixels: Tensor, silhouettes: Silhouettes) -> Tensor:
    """Which projected point of the body [B,S,2] is nearest to each point of the outline: [B,CONTOUR]."""
    # squared distances, less what does not depend on the point
    distance = torch.baddbmm(pixels.square().sum(2)[:, None], silhouettes.contour, pixels.mT, alpha=-2)
    return distance.min(2).indices


def distance_to_outline(pixels: Tensor, matches: Tensor, silhouettes: Silhouettes) -> Tensor:
    """Distance (pixels) of each point of the outline to its match [B,CONTOUR] among projected points of the body [B,S,2]:
    [B,CONTOUR]."""
    points = torch.gather(pixels, 1, matches[..., None].expand(-1, -1, 2))
    return (points - silhouettes.contour).square().sum(2).add(1e-6).sqrt()


def _flat_difference(points: Tensor, landmarks: Tensor) -> Tensor:
    """Squared distances [B,33] (m²) in the picture's plane after both are centred between the hips."""
    difference = (points - hip_centre(points)) - (landmarks - hip_centre(landmarks))
    return difference[..., :2].square().sum(2)


def _cauchy(squared: Tensor) -> Tensor:
    """Squares near zero that hardly grow beyond 3 sigma: a landmark may be wrong altogether."""
    return 8 * torch.log1p(squared / 8)


def _pseudo_huber(squared: Tensor) -> Tensor:
    """Squares near zero, absolute values far away (with its knee at 2 sigma)."""
    return 8 * ((1 + squared / 4).sqrt() - 1)
