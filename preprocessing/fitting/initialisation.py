"""A first pose straight from BlazePose's 3D landmarks: the torso's frame, then each limb by its two bones.

The optimiser starts so near that it need not turn anybody around, and knees and elbows bend the way joints do.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ag3d.core.landmarks import Joint, Landmark
from ag3d.model.body.rotation import matrix_to_axis_angle, rotation_between
from ag3d.preprocessing.fitting import pose_prior

# joints (and landmarks) of a limb, and the rest axis about which the middle joint bends
_LIMBS = (
    (("LEFT_HIP", "LEFT_KNEE", "LEFT_ANKLE"), (1.0, 0.0, 0.0)),
    (("RIGHT_HIP", "RIGHT_KNEE", "RIGHT_ANKLE"), (1.0, 0.0, 0.0)),
    (("LEFT_SHOULDER", "LEFT_ELBOW", "LEFT_WRIST"), (0.0, -1.0, 0.0)),
    (("RIGHT_SHOULDER", "RIGHT_ELBOW", "RIGHT_WRIST"), (0.0, 1.0, 0.0)),
)


def initial_pose(landmarks_3d: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """global_orient [B,3,3] and body_pose [B,69] from 3D landmarks [B,33,3] (x right, y down, z away) and the body's
    rest joints [24,3]."""
    orient = torso_frame(landmarks_3d)
    local = torch.einsum("bji,blj->bli", orient, landmarks_3d)  # in the torso's frame
    pose = pose_prior.USUAL.to(local).repeat(len(local), 1).view(-1, 23, 3).clone()
    for names, hinge in _LIMBS:
        (upper, middle, end), (a, b, c) = ([skeleton[name] for name in names] for skeleton in (Joint, Landmark))
        rest = (joints[middle] - joints[upper], joints[end] - joints[middle])
        bones = (local[:, b] - local[:, a], local[:, c] - local[:, b])
        axis = torch.tensor(hinge).to(local)
        rotation, bend = two_bone_ik(rest, bones, axis)
        pose[:, upper - 1] = matrix_to_axis_angle(rotation)
        pose[:, middle - 1] = axis * bend[:, None]
    return orient, pose_prior.clamp(pose.flatten(1))


def torso_frame(landmarks_3d: Tensor) -> Tensor:
    """The rotation [B,3,3] that takes the body's axes (left, up, front) to those of the torso."""
    hips = landmarks_3d[:, [Landmark.LEFT_HIP, Landmark.RIGHT_HIP]]
    shoulders = landmarks_3d[:, [Landmark.LEFT_SHOULDER, Landmark.RIGHT_SHOULDER]]
    up = normalize(shoulders.mean(1) - hips.mean(1), dim=1)
    left = (hips[:, 0] - hips[:, 1]) + (shoulders[:, 0] - shoulders[:, 1])
    left = normalize(left - (left * up).sum(1, keepdim=True) * up, dim=1)
    return torch.stack([left, up, torch.linalg.cross(left, up)], dim=2)


def two_bone_ik(rest: tuple[Tensor, Tensor], bones: tuple[Tensor, Tensor], hinge: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation [B,3,3] of the upper bone and bend [B] (radians) of the joint below it: from bones at rest [3] to `bones`
    [B,3], upper and lower each.

    The twist of the upper bone follows the plane of the limb where it is bent, and is least where it is straight.
    """
    upper, lower = normalize(bones[0], dim=1), normalize(bones[1], dim=1)
    rest_upper = normalize(rest[0], dim=0).expand_as(upper)
    least_rotation = rotation_between(rest_upper, upper)
    usual_hinge = (least_rotation @ hinge).squeeze(-1)
    normal = torch.linalg.cross(upper, lower)
    sine = normal.norm(dim=1, keepdim=True)
    normal = normal / sine.clamp_min(1e-6)
    agrees = (normal * usual_hinge).sum(1, keepdim=True)
    trust = ((sine - 0.15) / 0.35).clamp(0, 1) * ((agrees + 0.2) / 0.4).clamp(0, 1)
    bent_hinge = trust * normal + (1 - trust) * usual_hinge
    rotation = _frame(upper, bent_hinge) @ _frame(rest_upper, hinge.expand_as(upper)).transpose(1, 2)
    bend = torch.atan2(sine, (upper * lower).sum(1, keepdim=True)).squeeze(1)
    return rotation, bend * (agrees.squeeze(1) > -0.2)


def initial_camera(points: Tensor, landmarks_2d: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels per metre [B] and the pixel of the body's origin [B,2]: least squares of `landmarks_2d` [B,33,2] on the
    x, y of `points` [B,33,3]."""
    share = (weights / weights.sum(1, keepdim=True).clamp_min(1e-6))[..., None]
    flat = points[..., :2]
    middle, target = (share * flat).sum(1), (share * landmarks_2d).sum(1)
    model, pixels = flat - middle[:, None], landmarks_2d - target[:, None]
    scale = (share * model * pixels).sum((1, 2)) / (share * model.square()).sum((1, 2)).clamp_min(1e-6)
    size_ratio = (share * pixels.square()).sum((1, 2)).sqrt() / (share * model.square()).sum((1, 2)).sqrt().clamp_min(
        1e-6
    )
    scale = torch.maximum(scale, 0.5 * size_ratio).clamp_min(1e-3)
    return scale, target - scale[:, None] * middle


def _frame(first: Tensor, second: Tensor) -> Tensor:
    """Orthonormal frames [B,3,3] whose first column is `first` and whose second is `second` made perpendicular."""
    second = normalize(second - (second * first).sum(1, keepdim=True) * first, dim=1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=2)
