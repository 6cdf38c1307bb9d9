"""How BlazePose's landmarks relate to the body, measured on synthetic people whose joints are known.

Annotators and bodies place joints differently (BlazePose's shoulder is on top of the joint, its ankle above it), and depth
is known less well than the place in the picture. Metres, in the body's rest frame (x to the subject's left, y up, z front);
left or middle, mirrored for the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ag3d.preprocessing.fitting import reduced_body as P

# landmark: (from the body's point to BlazePose's, standard deviation in the picture)
_PLACES = {
    P.NOSE: ((0.0, 0.016, -0.017), 0.012),
    P.LEFT_EYE: ((-0.001, 0.006, -0.017), 0.012),
    P.LEFT_EAR: ((-0.029, -0.007, 0.036), 0.012),
    P.LEFT_SHOULDER: ((-0.007, 0.027, -0.002), 0.015),
    P.LEFT_ELBOW: ((-0.018, 0.001, 0.004), 0.014),
    P.LEFT_WRIST: ((0.004, -0.004, 0.001), 0.014),
    P.LEFT_PINKY: ((-0.024, -0.006, 0.021), 0.018),
    P.LEFT_INDEX: ((-0.023, -0.017, -0.016), 0.018),
    P.LEFT_HIP: ((-0.011, -0.016, 0.028), 0.018),
    P.LEFT_KNEE: ((-0.009, -0.010, -0.005), 0.015),
    P.LEFT_ANKLE: ((0.001, 0.031, 0.002), 0.014),
    P.LEFT_HEEL: ((-0.014, 0.025, 0.005), 0.022),
    P.LEFT_TOE: ((0.012, 0.017, -0.021), 0.022),
}
_RIGHT = {
    **{P.LEFT_EYE: P.RIGHT_EYE, P.LEFT_EAR: P.RIGHT_EAR},
    **{left: left + 1 for left in _PLACES if left >= P.LEFT_SHOULDER},
}
# Bones whose depth BlazePose estimates: (upper landmarks, lower landmarks, its mean error, standard deviation).
DEPTHS: tuple[tuple[tuple[int, ...], tuple[int, ...], float, float], ...] = (
    ((P.LEFT_HIP, P.RIGHT_HIP), (P.LEFT_SHOULDER, P.RIGHT_SHOULDER), -0.03, 0.05),
    ((P.LEFT_SHOULDER, P.RIGHT_SHOULDER), (P.LEFT_EAR, P.RIGHT_EAR), -0.012, 0.04),
    ((P.LEFT_EAR, P.RIGHT_EAR), (P.NOSE,), 0.0, 0.03),
    ((P.LEFT_SHOULDER,), (P.RIGHT_SHOULDER,), 0.0, 0.045),
    ((P.LEFT_HIP,), (P.RIGHT_HIP,), 0.0, 0.03),
    *(((P.LEFT_SHOULDER + k,), (P.LEFT_ELBOW + k,), 0.0, 0.055) for k in (0, 1)),
    *(((P.LEFT_ELBOW + k,), (P.LEFT_WRIST + k,), -0.02, 0.065) for k in (0, 1)),
    *(((P.LEFT_WRIST + k,), (P.LEFT_INDEX + k,), -0.02, 0.03) for k in (0, 1)),
    *(((P.LEFT_HIP + k,), (P.LEFT_KNEE + k,), 0.0, 0.07) for k in (0, 1)),
    *(((P.LEFT_KNEE + k,), (P.LEFT_ANKLE + k,), 0.0, 0.08) for k in (0, 1)),
)


def _tables() -> tuple[Tensor, Tensor]:
    offsets, sigmas = torch.zeros(33, 3), torch.ones(33)
    for landmark, (offset, sigma) in _PLACES.items():
        offsets[landmark], sigmas[landmark] = torch.tensor(offset), sigma
        if landmark in _RIGHT:
            offsets[_RIGHT[landmark]] = torch.tensor(offset) * torch.tensor([-1.0, 1.0, 1.0])
            sigmas[_RIGHT[landmark]] = sigma
    return offsets, sigmas


OFFSETS, SIGMAS = _tables()  # [33,3], [33]


def _bones() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    matrix = torch.zeros(len(DEPTHS), 33)
    for row, (upper, lower, _, _) in enumerate(DEPTHS):
        matrix[row, list(lower)] += 1 / len(lower)
        matrix[row, list(upper)] -= 1 / len(upper)
    return matrix, matrix.abs() > 0, torch.tensor([d[2] for d in DEPTHS]), torch.tensor([d[3] for d in DEPTHS])


@dataclass
class Constants:
    """The tables of this module on one device."""

    sigmas: Tensor  # [33]
    matrix: Tensor  # [bones,33] lower ends' mean less upper ends'
    ends: Tensor  # [bones,33] whether a landmark is an end
    bias: Tensor  # [bones] metres
    spread: Tensor  # [bones] metres


@cache
def on(device: torch.device) -> Constants:
    """The tables on `device`; copied once, since copies make a GPU wait."""
    return Constants(*(table.to(device) for table in (SIGMAS, *_bones())))


def depths(points: Tensor) -> Tensor:
    """How much farther away each bone's lower end is than its upper end (metres), of points [B,33,3]: [B,bones]."""
    return points[..., 2] @ on(points.device).matrix.T


def trust(weights: Tensor) -> Tensor:
    """The least weight [B,33] among each bone's ends, [B,bones]."""
    return torch.where(on(weights.device).ends, weights[:, None], torch.inf).amin(2)
