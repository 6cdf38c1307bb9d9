"""What a person's joints can do: soft limits and a preference for common poses, without any licensed prior.

Axis-angle components in SMPL's rest frame (T-pose; x to the subject's left, y up, z front). The limits are anatomical
ranges of motion, rounded outwards, since components of a rotation vector only approximate the joint's angles.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# joint: ((low, high) of x, y, z in radians, usual (x, y, z), strength of the pull to the usual pose); left or middle.
_FREE = {
    1: (((-2.3, 0.7), (-0.7, 0.7), (-0.4, 1.2)), (-0.1, 0.0, 0.05), 0.3),  # hip: forward is -x, outward +z
    4: (((-0.05, 2.6), (-0.1, 0.1), (-0.1, 0.1)), (0.15, 0.0, 0.0), 0.3),  # knee: bends about +x
    7: (((-0.6, 0.9), (-0.4, 0.4), (-0.4, 0.4)), (0.0, 0.0, 0.0), 1.0),  # ankle
    10: (((-0.3, 0.3), (-0.05, 0.05), (-0.05, 0.05)), (0.0, 0.0, 0.0), 20.0),  # ball of the foot
    3: (((-0.25, 0.5), (-0.35, 0.35), (-0.3, 0.3)), (0.0, 0.0, 0.0), 3.0),  # spine
    6: (((-0.2, 0.4), (-0.35, 0.35), (-0.3, 0.3)), (0.0, 0.0, 0.0), 3.0),
    9: (((-0.2, 0.3), (-0.35, 0.35), (-0.3, 0.3)), (0.0, 0.0, 0.0), 3.0),
    12: (((-0.5, 0.5), (-0.7, 0.7), (-0.5, 0.5)), (0.0, 0.0, 0.0), 2.0),  # neck
    15: (((-0.5, 0.5), (-0.7, 0.7), (-0.5, 0.5)), (0.0, 0.0, 0.0), 2.0),  # head
    13: (((-0.2, 0.2), (-0.4, 0.3), (-0.3, 0.4)), (0.0, 0.0, 0.0), 5.0),  # collar
    16: (((-1.6, 1.6), (-2.2, 1.0), (-1.8, 1.6)), (0.0, -0.1, -1.0), 0.15),  # shoulder: down is -z, forward -y
    18: (((-1.2, 1.2), (-2.7, 0.05), (-0.3, 0.3)), (0.0, -0.25, 0.0), 0.3),  # elbow: bends about -y
    20: (((-0.8, 0.8), (-0.5, 0.5), (-1.0, 1.0)), (0.0, 0.0, 0.0), 2.0),  # wrist
    22: (((-0.1, 0.1), (-0.1, 0.1), (-0.1, 0.1)), (0.0, 0.0, 0.0), 20.0),  # hand
}
_MIRRORED = {1: 2, 4: 5, 7: 8, 10: 11, 13: 14, 16: 17, 18: 19, 20: 21, 22: 23}


def _tables() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    low, high, usual, strength = torch.zeros(23, 3), torch.zeros(23, 3), torch.zeros(23, 3), torch.zeros(23, 1)
    mirror = torch.tensor([1.0, -1.0, -1.0])
    for joint, (limits, mean, pull) in _FREE.items():
        bounds = torch.tensor(limits)
        low[joint - 1], high[joint - 1] = bounds[:, 0], bounds[:, 1]
        usual[joint - 1], strength[joint - 1] = torch.tensor(mean), pull
        if joint in _MIRRORED:
            other = _MIRRORED[joint] - 1
            flipped = bounds * mirror[:, None]
            low[other], high[other] = flipped.amin(1), flipped.amax(1)
            usual[other], strength[other] = torch.tensor(mean) * mirror, pull
    return low.flatten(), high.flatten(), usual.flatten(), strength.repeat(1, 3).flatten()


LOW, HIGH, USUAL, STRENGTH = _tables()  # [69] each


@cache
def _on(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The tables on `device`; copied once, since copies make a GPU wait."""
    low, high, usual, strength = (table.to(device) for table in (LOW, HIGH, USUAL, STRENGTH))
    return low, high, usual, strength


def limits(body_pose: Tensor) -> Tensor:
    """How far joints are beyond their limits: sum of squares (rad²), [B,69] to [B]."""
    return (body_pose - clamp(body_pose)).square().sum(1)


def unusual(body_pose: Tensor) -> Tensor:
    """Distance from a relaxed upright pose, weighted by joint (rad²), [B,69] to [B]."""
    _, _, usual, strength = _on(body_pose.device)
    return (strength * (body_pose - usual).square()).sum(1)


def clamp(body_pose: Tensor) -> Tensor:
    """`body_pose` [B,69] with every component within its limits."""
    low, high, _, _ = _on(body_pose.device)
    return torch.minimum(torch.maximum(body_pose, low), high)
