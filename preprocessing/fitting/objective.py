"""What a fit is judged by: landmarks, matte, what joints can do, and that no part of the body passes through another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting import landmark_calibration, pose_prior, self_intersection, silhouette
from ag3d.preprocessing.fitting import reduced_body as P
from ag3d.preprocessing.fitting.reduced_body import PointBody
from ag3d.preprocessing.fitting.silhouette import Silhouettes

CAMERA_DISTANCE = 100.0  # world units, as in the labels
# Expected errors, which make the terms comparable.
SIGMA_3D, SIGMA_MATTE, SIGMA_OUTLINE, SIGMA_CONTACT = 0.1, 0.015, 0.05, 0.02  # metres
SIGMA_LIMIT, SIGMA_POSE, SIGMA_SIZE = 0.05, 0.5, 0.1  # radians, radians, logarithm
WEIGHT_3D, WEIGHT_DEPTH, WEIGHT_MATTE, WEIGHT_OUTLINE, WEIGHT_BETAS = 0.25, 1.0, 120.0, 240.0, 0.8
WIDER = 2.5  # landmarks count as that much less exact while the pose is still far off

Unknown = dict[str, Tensor]  # betas [B,10], pose [B,69], turn [B,3], log_scale [B], shift [B,2], log_size [B]


@dataclass
class Observed:
    """What is known of B people. Pixels are those of the photograph."""

    landmarks_2d: Tensor  # [B,33,2] pixels
    landmarks_3d: Tensor  # [B,33,3] metres, x right, y down, z away
    weights: Tensor  # [B,33]
    sigmas: Tensor  # [B,33] standard deviations of landmarks_2d (metres)
    depths: Tensor  # [B,bones] how much farther away each bone's lower end is than its upper end (metres)
    spreads: Tensor  # [B,bones] standard deviations of it
    mattes: Silhouettes | None = None

    @staticmethod
    def plain(landmarks_2d: Tensor, landmarks_3d: Tensor, weights: Tensor) -> Observed:
        """Of landmarks as exact as BlazePose's usually are."""
        usual = landmark_calibration.on(landmarks_2d.device)
        depths = landmark_calibration.depths(landmarks_3d)
        sigmas = usual.sigmas * (3 - 2 * weights.clamp(0, 1))  # hidden ones are three times as wrong
        spreads = usual.spread / landmark_calibration.trust(weights).clamp_min(0.01).sqrt()
        return Observed(landmarks_2d, landmarks_3d, weights, sigmas, depths - usual.bias, spreads)

    def to(self, device: torch.device | str) -> Observed:
        return self._each(lambda value: value.to(device))

    def repeated(self, times: int) -> Observed:
        """Everybody `times` times, one round after another."""
        return self._each(lambda value: torch.cat([value] * times))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Observed:
        values = {name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)}
        mattes = None if self.mattes is None else Silhouettes(**{k: change(v) for k, v in vars(self.mattes).items()})
        return Observed(**values, mattes=mattes)


@dataclass
class Problem:
    """A body to be fitted to what was seen of B people, and the camera that the unknowns are relative to."""

    body: PointBody
    seen: Observed
    orient: Tensor  # [B,3,3]
    scale: Tensor  # [B] pixels per metre
    origin: Tensor  # [B,2] pixels
    nearest: Tensor | None = None  # [B,CONTOUR] sample of the surface that each point of the outline belongs to

    @cached_property
    def weights(self) -> Tensor:
        """How much each landmark counts, [B,33]."""
        return self.seen.weights * self.body.landmark_weights

    def repeated(self, times: int, seen: Observed) -> Problem:
        """The same for everybody `times` times, of whom others were `seen`."""
        return Problem(self.body, seen, *(torch.cat([part] * times) for part in (self.orient, self.scale, self.origin)))

    def camera(self, unknown: Unknown) -> tuple[Tensor, Tensor, Tensor]:
        """Orientation [B,3,3], pixels per metre [B], the origin's pixel [B,2]."""
        grown = self.scale * unknown["log_scale"].exp()
        turned = axis_angle_to_matrix(unknown["turn"]) @ self.orient
        return turned, grown, self.origin + unknown["shift"] * self.scale[:, None]

    def energy(self, unknown: Unknown, with_matte: bool, search: bool = True) -> Tensor:
        """The sum of all terms for each person, [B]. Without the matte the body is 33 landmarks and no more. Without
        `search`, the outline's points keep to the points of the body that were nearest at the last search."""
        body, seen = self.body, self.seen
        orient, scale, origin = self.camera(unknown)
        points, _ = body(unknown["betas"], orient, unknown["pose"], None if with_matte else 33)
        pixels = project(points, scale, origin)
        metres = scale.detach()[:, None]
        apart = (pixels[:, :33] - seen.landmarks_2d).square().sum(2) / (metres * seen.sigmas).square()
        size = unknown["log_size"].exp()[:, None]
        miss_2d = _bounded(apart) if with_matte else _robust(apart / WIDER**2)
        miss_3d = _robust(_miss_3d(points[:, :33], size[..., None] * seen.landmarks_3d) / SIGMA_3D**2)
        total = (self.weights * (miss_2d + WEIGHT_3D * miss_3d)).sum(1)
        deep = (landmark_calibration.depths(points[:, :33]) - size * seen.depths) / seen.spreads
        total = total + WEIGHT_DEPTH * _robust(deep.square()).sum(1)
        total = total + pose_prior.limits(unknown["pose"]) / SIGMA_LIMIT**2
        total = total + pose_prior.unusual(unknown["pose"]) / SIGMA_POSE**2
        total = total + WEIGHT_BETAS * unknown["betas"].square().sum(1) + (unknown["log_size"] / SIGMA_SIZE).square()
        if with_matte:
            through = self_intersection.overlap(points[:, body.centres], body.reach)
            total = total + through.square().sum((1, 2)) / SIGMA_CONTACT**2
        if with_matte and seen.mattes is not None:
            surface = pixels[:, body.surface]
            out = silhouette.outside(surface, seen.mattes) / (metres * SIGMA_MATTE)
            total = total + WEIGHT_MATTE * _robust(out.square()).mean(1)
            if search or self.nearest is None:
                self.nearest = silhouette.nearest(surface, seen.mattes)
            gap = silhouette.to_outline(surface, self.nearest, seen.mattes)
            gap = (gap / (metres * SIGMA_OUTLINE)).square()
            capped = seen.mattes.contour_weight * gap / (1 + gap)
            total = total + WEIGHT_OUTLINE * capped.mean(1)
        return total


def project(points: Tensor, scale: Tensor, origin: Tensor) -> Tensor:
    """Pixels [B,P,2] of points [B,P,3] in metres."""
    return origin[:, None] + scale[:, None, None] * points[..., :2] / (1 + points[..., 2:] / CAMERA_DISTANCE)


def _miss_3d(points: Tensor, landmarks: Tensor) -> Tensor:
    """Squared distances [B,33] (m²) in the picture's plane after both are centred between the hips."""
    difference = (points - hips(points)) - (landmarks - hips(landmarks))
    return difference[..., :2].square().sum(2)


def hips(points: Tensor) -> Tensor:
    """The middle [B,1,3] between the hips of landmarks [B,33,3]."""
    return (points[:, P.LEFT_HIP, None] + points[:, P.RIGHT_HIP, None]) / 2


def _bounded(squared: Tensor) -> Tensor:
    """Squares near zero that hardly grow beyond 3 sigma (Cauchy's): a landmark may be wrong altogether."""
    return 8 * torch.log1p(squared / 8)


def _robust(squared: Tensor) -> Tensor:
    """Squares near zero, absolute values far away (pseudo-Huber with its knee at 2 sigma)."""
    return 8 * ((1 + squared / 4).sqrt() - 1)
