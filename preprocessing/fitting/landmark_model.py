"""How BlazePose's landmarks of a person relate to the body, and how far each may be off.

Annotators and bodies place joints differently (BlazePose's shoulder is on top of the joint, its ankle above it), and depth is
known less well than the place in the picture: the tables say how much on average, measured on synthetic people whose joints
are known. But it also depends on the side that a person is seen from and on the pose, which a small network estimates. It sees
the landmarks alone, in metres and relative to the hips: what it corrects, it corrects alike for every photograph. It answers
with corrections of at most LARGEST metres, and with standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ag3d.core.errors import UserError
from ag3d.core.files import read_json, write_json
from ag3d.core.landmarks import MIRRORED_LANDMARKS, Landmark
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.checkpoint import load_weights, read_weights, save_weights

# How much a landmark counts; what BlazePose does not see well, or has no place on the body, counts little or nothing.
_WEIGHTS = {
    **dict.fromkeys(("SHOULDER", "HIP", "ELBOW", "WRIST", "KNEE", "ANKLE"), 1.0),
    **dict.fromkeys(("NOSE", "EYE", "EAR", "HEEL", "TOE"), 0.5),
    **dict.fromkeys(("PINKY", "INDEX"), 0.25),
}
LANDMARK_WEIGHTS = {int(mark): _WEIGHTS[name] for mark in Landmark if (name := mark.name.split("_", 1)[-1]) in _WEIGHTS}
# landmark: (from the body's point to BlazePose's, standard deviation in the picture): metres, in the body's rest frame
# (x to the subject's left, y up, z front); left or middle, mirrored for the right.
_OFFSETS = {
    Landmark.NOSE: ((0.0, 0.016, -0.017), 0.012),
    Landmark.LEFT_EYE: ((-0.001, 0.006, -0.017), 0.012),
    Landmark.LEFT_EAR: ((-0.029, -0.007, 0.036), 0.012),
    Landmark.LEFT_SHOULDER: ((-0.007, 0.027, -0.002), 0.015),
    Landmark.LEFT_ELBOW: ((-0.018, 0.001, 0.004), 0.014),
    Landmark.LEFT_WRIST: ((0.004, -0.004, 0.001), 0.014),
    Landmark.LEFT_PINKY: ((-0.024, -0.006, 0.021), 0.018),
    Landmark.LEFT_INDEX: ((-0.023, -0.017, -0.016), 0.018),
    Landmark.LEFT_HIP: ((-0.011, -0.016, 0.028), 0.018),
    Landmark.LEFT_KNEE: ((-0.009, -0.010, -0.005), 0.015),
    Landmark.LEFT_ANKLE: ((0.001, 0.031, 0.002), 0.014),
    Landmark.LEFT_HEEL: ((-0.014, 0.025, 0.005), 0.022),
    Landmark.LEFT_TOE: ((0.012, 0.017, -0.021), 0.022),
}
# Bones whose depth BlazePose estimates: (upper landmarks, lower landmarks, its mean error, standard deviation).
BONES: tuple[tuple[tuple[int, ...], tuple[int, ...], float, float], ...] = tuple(
    (tuple(Landmark[name] for name in upper.split()), tuple(Landmark[name] for name in lower.split()), bias, std)
    for upper, lower, bias, std in (
        ("LEFT_HIP RIGHT_HIP", "LEFT_SHOULDER RIGHT_SHOULDER", -0.03, 0.05),
        ("LEFT_SHOULDER RIGHT_SHOULDER", "LEFT_EAR RIGHT_EAR", -0.012, 0.04),
        ("LEFT_EAR RIGHT_EAR", "NOSE", 0.0, 0.03),
        ("LEFT_SHOULDER", "RIGHT_SHOULDER", 0.0, 0.045),
        ("LEFT_HIP", "RIGHT_HIP", 0.0, 0.03),
        *((f"{side}_SHOULDER", f"{side}_ELBOW", 0.0, 0.055) for side in ("LEFT", "RIGHT")),
        *((f"{side}_ELBOW", f"{side}_WRIST", -0.02, 0.065) for side in ("LEFT", "RIGHT")),
        *((f"{side}_WRIST", f"{side}_INDEX", -0.02, 0.03) for side in ("LEFT", "RIGHT")),
        *((f"{side}_HIP", f"{side}_KNEE", 0.0, 0.07) for side in ("LEFT", "RIGHT")),
        *((f"{side}_KNEE", f"{side}_ANKLE", 0.0, 0.08) for side in ("LEFT", "RIGHT")),
    )
)
WEIGHTS_FILE = Path(__file__).parent / "weights" / "landmarks.safetensors"  # comes with the project
FORMAT = "ag3d landmark network 1"
USED = sorted(int(landmark) for landmark in LANDMARK_WEIGHTS)  # the landmarks that have a place on the body
INPUTS = 6 * len(USED) + 2
HIDDEN, DROPPED = 128, 0.3
LARGEST = 0.1  # metres
UNUSUAL = 4.0  # inputs farther from the training's mean are taken for that far (standard deviations)
# Standard deviations (metres) are kept within these.
FLAT, DEEP = (0.004, 0.3), (0.01, 0.5)


@dataclass
class Calibration(TensorDataclass):
    """BlazePose's usual errors. Metres."""

    offsets: Tensor  # [33,3] from the body's points to BlazePose's
    landmark_std: Tensor  # [33]
    bones: Tensor  # [bones,33] lower ends' mean less upper ends'
    depth_bias: Tensor  # [bones]
    depth_std: Tensor  # [bones]


@cache
def calibration(device: torch.device | str = "cpu") -> Calibration:
    """The tables on `device`; copied once, since copies make a GPU wait."""
    offsets, std, bones = torch.zeros(33, 3), torch.ones(33), torch.zeros(len(BONES), 33)
    for landmark, (offset, sigma) in _OFFSETS.items():
        other = MIRRORED_LANDMARKS[landmark]
        offsets[other], std[other] = torch.tensor(offset) * torch.tensor([-1.0, 1.0, 1.0]), sigma
        offsets[landmark], std[landmark] = torch.tensor(offset), sigma
    for row, (upper, lower, _, _) in enumerate(BONES):
        bones[row, list(lower)] += 1 / len(lower)
        bones[row, list(upper)] -= 1 / len(upper)
    bias, depth_std = (torch.tensor([bone[k] for bone in BONES]) for k in (2, 3))
    return Calibration(offsets, std, bones, bias, depth_std).to(device)


def bone_depths(points: Tensor) -> Tensor:
    """How much farther away each bone's lower end is than its upper end (metres), of points [B,33,3]: [B,bones]."""
    return points[..., 2] @ calibration(points.device).bones.T


def bone_weights(weights: Tensor) -> Tensor:
    """The least weight [B,33] among each bone's ends, [B,bones]."""
    return torch.where(calibration(weights.device).bones != 0, weights[:, None], torch.inf).amin(2)


@dataclass
class LandmarkEstimate(TensorDataclass):
    """What BlazePose's landmarks of B people say about the body's. Metres, in the picture's axes."""

    offsets: Tensor  # [B,33,2] from BlazePose's landmarks to the body's
    landmark_std: Tensor  # [B,33] standard deviations of what that leaves
    bone_depths: Tensor  # [B,bones] how much farther away each bone's lower end is than its upper end
    bone_depth_std: Tensor  # [B,bones] standard deviations of it


class LandmarkNetwork(nn.Module):
    """Inputs [B,INPUTS] of `network_inputs`; offsets [B,USED,2], logarithms of their deviations [B,USED], bones' depths less
    BlazePose's [B,bones], logarithms of their deviations [B,bones]."""

    mean: Tensor  # [INPUTS] of the people that it learnt from
    scale: Tensor  # [INPUTS] their standard deviations

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))
        head = nn.Linear(HIDDEN, 3 * len(USED) + 2 * len(BONES))
        self.layers = nn.Sequential(
            *(nn.Linear(INPUTS, HIDDEN), nn.SiLU(), nn.Dropout(DROPPED)),
            *(nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Dropout(DROPPED)),
            head,
        )
        with torch.no_grad():  # no correction is the first guess
            head.weight.mul_(0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        out = self.layers(((x - self.mean) / self.scale).clamp(-UNUSUAL, UNUSUAL))
        offsets, log_std, depths, depth_log_std = out.split([2 * len(USED), len(USED), len(BONES), len(BONES)], dim=1)
        offsets = LARGEST * torch.tanh(offsets / 2).unflatten(1, (len(USED), 2))
        return offsets, _log_within(log_std, FLAT), LARGEST * torch.tanh(depths / 2), _log_within(depth_log_std, DEEP)


def _log_within(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Logarithms between those of `bounds`."""
    low, high = (torch.tensor(bound, device=x.device).log() for bound in bounds)
    return low + (high - low) * torch.sigmoid(x / 2)


def network_inputs(landmarks_2d: Tensor, landmarks_3d: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
    """What the network sees of landmarks [B,33,2] (pixels), [B,33,3] (metres) and visibility [B,33]; and the pixels per
    metre [B] that it takes the picture to have."""
    weights = torch.tensor([LANDMARK_WEIGHTS[k] for k in USED]).to(landmarks_2d)
    share = (weights / weights.sum())[:, None]
    flat, solid = landmarks_2d[:, USED], landmarks_3d[:, USED]
    flat = flat - (share * flat).sum(1, keepdim=True)
    solid = solid - (share * solid).sum(1, keepdim=True)
    scale = (share * flat * solid[..., :2]).sum((1, 2)) / (share * solid[..., :2].square()).sum((1, 2)).clamp_min(1e-6)
    size = (share * flat.square()).sum((1, 2)).sqrt()  # against nonsense: a person is about 0.4 m in standard deviation
    scale = scale.clamp(min=size.clamp_min(1e-3))
    left, right = (
        landmarks_3d[:, [Landmark[f"{side}_SHOULDER"], Landmark[f"{side}_HIP"]]] for side in ("LEFT", "RIGHT")
    )
    facing = normalize((left - right).sum(1)[:, [0, 2]], dim=1)
    parts = (flat / scale[:, None, None], solid, visibility[:, USED], facing)
    return torch.cat([part.flatten(1) for part in parts], dim=1), scale


@torch.no_grad()
def estimate(
    network: LandmarkNetwork, landmarks_2d: Tensor, landmarks_3d: Tensor, visibility: Tensor
) -> LandmarkEstimate:
    """The mean of what the network says of a person and of the person in a mirror (flip test)."""
    answer = network(network_inputs(landmarks_2d, landmarks_3d, visibility)[0])
    flipped = network(network_inputs(*mirrored(landmarks_2d, landmarks_3d, visibility))[0])
    used_offsets, log_std, depths, depth_log_std = (
        (a + b) / 2 for a, b in zip(answer, _mirrored_answer(*flipped), strict=True)
    )
    offsets = torch.zeros_like(landmarks_2d)
    offsets[:, USED] = used_offsets
    std = calibration(offsets.device).landmark_std.repeat(len(offsets), 1)
    std[:, USED] = log_std.exp()
    return LandmarkEstimate(offsets, std, bone_depths(landmarks_3d) + depths, depth_log_std.exp())


def mirrored(landmarks_2d: Tensor, landmarks_3d: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The landmarks of the person in a mirror."""
    flip, other = torch.tensor([-1.0, 1.0, 1.0]).to(landmarks_3d), MIRRORED_LANDMARKS
    return (landmarks_2d * flip[:2])[:, other], (landmarks_3d * flip)[:, other], visibility[:, other]


def _mirrored_answer(offsets: Tensor, log_std: Tensor, depths: Tensor, depth_log_std: Tensor) -> tuple[Tensor, ...]:
    """The network's answer about a person in a mirror, as one about the person."""
    other = [USED.index(MIRRORED_LANDMARKS[k]) for k in USED]
    bones, signs = mirrored_bones()
    flip, depth_flip = torch.tensor([-1.0, 1.0]).to(offsets), torch.tensor(signs).to(depths)
    return (offsets * flip)[:, other], log_std[:, other], depths[:, bones] * depth_flip, depth_log_std[:, bones]


@cache
def mirrored_bones() -> tuple[list[int], list[float]]:
    """The bone that each is in a mirror, and -1 where its ends are exchanged."""
    ends = [tuple({MIRRORED_LANDMARKS[k] for k in side} for side in bone[:2]) for bone in BONES]
    bones = [tuple(set(side) for side in bone[:2]) for bone in BONES]
    same = [bones.index(bone) if bone in bones else bones.index(bone[::-1]) for bone in ends]
    return same, [1.0 if bone in bones else -1.0 for bone in ends]


def save(network: LandmarkNetwork, card: dict[str, Any], path: Path) -> None:
    """Write the weights in half precision, and beside them their card (.json)."""
    save_weights(network, path, half=True)
    write_json(path.with_suffix(".json"), {"format": FORMAT, **card})


@cache
def load(path: Path = WEIGHTS_FILE) -> LandmarkNetwork:
    """The network, ready for use. Raises UserError where a file is missing or of another kind."""
    card = read_json(path.with_suffix(".json"))
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{path.with_suffix('.json')} is no card of a landmark network ('{FORMAT}'); train it anew")
    network = LandmarkNetwork()
    load_weights(network, read_weights(path), str(path))
    return network.eval()
