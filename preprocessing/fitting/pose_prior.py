"""What a person's joints can do: soft limits and a preference for common poses, without any licensed prior.

Axis-angle components in SMPL's rest frame (T-pose; x to the subject's left, y up, z front). The limits are anatomical
ranges of motion, rounded outwards, since components of a rotation vector only approximate the joint's angles.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from ag3d.core.landmarks import MIRRORED_JOINTS, Joint

# joint: ((low, high) of x, y, z in radians, usual (x, y, z), strength of the pull to the usual pose); left or middle.
_JOINTS = {
    Joint.LEFT_HIP: (((-2.3, 0.7), (-0.7, 0.7), (-0.4, 1.2)), (-0.1, 0.0, 0.05), 0.3),  # forward is -x, outward +z
    Joint.LEFT_KNEE: (((-0.05, 2.6), (-0.1, 0.1), (-0.1, 0.1)), (0.15, 0.0, 0.0), 0.3),  # bends about +x
    Joint.LEFT_ANKLE: (((-0.6, 0.9), (-0.4, 0.4), (-0.4, 0.4)), (0.0, 0.0, 0.0), 1.0),
    Joint.LEFT_FOOT: (((-0.3, 0.3), (-0.05, 0.05), (-0.05, 0.05)), (0.0, 0.0, 0.0), 20.0),  # the ball of the foot
    Joint.SPINE1: (((-0.25, 0.5), (-0.35, 0.35), (-0.3, 0.3)), (0.0, 0.0, 0.0), 3.0),
    Joint.SPINE2: (((-0.2, 0.4), (-0.35, 0.35), (-0.3, 0.3)), (0.0, 0.0, 0.0), 3.0),
    Joint.SPINE3: (((-0.2, 0.3), (-0.35, 0.35), (-0.3, 0.3)), (0.0, 0.0, 0.0), 3.0),
    Joint.NECK: (((-0.5, 0.5), (-0.7, 0.7), (-0.5, 0.5)), (0.0, 0.0, 0.0), 2.0),
    Joint.HEAD: (((-0.5, 0.5), (-0.7, 0.7), (-0.5, 0.5)), (0.0, 0.0, 0.0), 2.0),
    Joint.LEFT_COLLAR: (((-0.2, 0.2), (-0.4, 0.3), (-0.3, 0.4)), (0.0, 0.0, 0.0), 5.0),
    Joint.LEFT_SHOULDER: (((-1.6, 1.6), (-2.2, 1.0), (-1.8, 1.6)), (0.0, -0.1, -1.0), 0.15),  # down is -z, forward -y
    Joint.LEFT_ELBOW: (((-1.2, 1.2), (-2.7, 0.05), (-0.3, 0.3)), (0.0, -0.25, 0.0), 0.3),  # bends about -y
    Joint.LEFT_WRIST: (((-0.8, 0.8), (-0.5, 0.5), (-1.0, 1.0)), (0.0, 0.0, 0.0), 2.0),
    Joint.LEFT_HAND: (((-0.1, 0.1), (-0.1, 0.1), (-0.1, 0.1)), (0.0, 0.0, 0.0), 20.0),
}


def _constants() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    low, high, usual, strength = torch.zeros(23, 3), torch.zeros(23, 3), torch.zeros(23, 3), torch.zeros(23, 1)
    mirror = torch.tensor([1.0, -1.0, -1.0])
    for joint, (limits, mean, pull) in _JOINTS.items():
        bounds, mean_pose, other = torch.tensor(limits), torch.tensor(mean), MIRRORED_JOINTS[joint]
        for row, flip in ((other - 1, mirror), (joint - 1, torch.ones(3))):  # a middle joint's own values come last
            flipped = bounds * flip[:, None]
            low[row], high[row] = flipped.amin(1), flipped.amax(1)
            usual[row], strength[row] = mean_pose * flip, pull
    return low.flatten(), high.flatten(), usual.flatten(), strength.repeat(1, 3).flatten()


LOW, HIGH, USUAL, STRENGTH = _constants()  # [69] each


@cache
def _on(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The constants on `device`; copied once, since copies make a GPU wait."""
    low, high, usual, strength = (table.to(device) for table in (LOW, HIGH, USUAL, STRENGTH))
    return low, high, usual, strength


def limit_violation(body_pose: Tensor) -> Tensor:
    """How far joints are beyond their limits: sum of squares (rad²), [B,69] to [B]."""
    return (body_pose - clamp(body_pose)).square().sum(1)


def unusualness(body_pose: Tensor) -> Tensor:
    """Squared distance from a relaxed upright pose, weighted by joint (rad²), [B,69] to [B]."""
    _, _, usual, strength = _on(body_pose.device)
    return (strength * (body_pose - usual).square()).sum(1)


def clamp(body_pose: Tensor) -> Tensor:
    """`body_pose` [B,69] with every component within its limits."""
    low, high, _, _ = _on(body_pose.device)
    return torch.minimum(torch.maximum(body_pose, low), high)
