"""How BlazePose's landmarks of a person relate to the body, and how far each may be off: a small network's estimate.

Where BlazePose places a shoulder or a knee depends on the side that it sees the person from and on the pose, and so does how
wrong it is. The network sees the landmarks alone, in metres and relative to the hips: what it corrects, it corrects alike for
every photograph. It answers with corrections of at most LARGEST metres, and with standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ag3d.core import landmarks
from ag3d.core.errors import UserError
from ag3d.core.files import read_json, write_json
from ag3d.model.checkpoint import load_weights, read_weights, save_weights
from ag3d.preprocessing.fitting import landmark_calibration
from ag3d.preprocessing.fitting import reduced_body as P

OWN = Path(__file__).parent / "weights" / "landmarks.safetensors"  # comes with the project
FORMAT = "ag3d landmark network 1"
MIRROR = landmarks.MIRRORED_LANDMARKS
USED = sorted(P.LANDMARK_WEIGHTS)  # the landmarks that have a place on the body
BONES = len(landmark_calibration.DEPTHS)
INPUTS = 6 * len(USED) + 2
HIDDEN, DROPPED = 128, 0.3
LARGEST = 0.1  # metres
UNUSUAL = 4.0  # inputs farther from the training's mean are taken for that far (standard deviations)
# Standard deviations (metres) are kept within these.
FLAT, DEEP = (0.004, 0.3), (0.01, 0.5)


@dataclass
class Reading:
    """What BlazePose's landmarks of B people say about the body's. Metres, in the picture's axes."""

    moved: Tensor  # [B,33,2] from BlazePose's landmarks to the body's
    sigmas: Tensor  # [B,33] standard deviations of what that leaves
    depths: Tensor  # [B,bones] how much farther away each bone's lower end is than its upper end
    spreads: Tensor  # [B,bones] standard deviations of it


class LandmarkNetwork(nn.Module):
    """Inputs [B,INPUTS] of `inputs`; moved [B,USED,2], logarithms of sigmas [B,USED], bones' depths less BlazePose's [B,bones],
    logarithms of spreads [B,bones]."""

    mean: Tensor  # [INPUTS] of the people that it learnt from
    scale: Tensor  # [INPUTS] their standard deviations

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))
        head = nn.Linear(HIDDEN, 3 * len(USED) + 2 * BONES)
        self.layers = nn.Sequential(
            *(nn.Linear(INPUTS, HIDDEN), nn.SiLU(), nn.Dropout(DROPPED)),
            *(nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Dropout(DROPPED)),
            head,
        )
        with torch.no_grad():  # no correction is the first guess
            head.weight.mul_(0.1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        out = self.layers(((x - self.mean) / self.scale).clamp(-UNUSUAL, UNUSUAL))
        flat, sure, deep, deep_sure = out.split([2 * len(USED), len(USED), BONES, BONES], dim=1)
        moved = LARGEST * torch.tanh(flat / 2).unflatten(1, (len(USED), 2))
        return moved, _within(sure, FLAT), LARGEST * torch.tanh(deep / 2), _within(deep_sure, DEEP)


def _within(x: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Logarithms between those of `bounds`."""
    low, high = (torch.tensor(bound, device=x.device).log() for bound in bounds)
    return low + (high - low) * torch.sigmoid(x / 2)


def inputs(landmarks_2d: Tensor, landmarks_3d: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
    """What the network sees of landmarks [B,33,2] (pixels), [B,33,3] (metres) and visibility [B,33]; and the pixels per
    metre [B] that it takes the picture to have."""
    weights = torch.tensor([P.LANDMARK_WEIGHTS[k] for k in USED]).to(landmarks_2d)
    share = (weights / weights.sum())[:, None]
    flat, solid = landmarks_2d[:, USED], landmarks_3d[:, USED]
    flat = flat - (share * flat).sum(1, keepdim=True)
    solid = solid - (share * solid).sum(1, keepdim=True)
    scale = (share * flat * solid[..., :2]).sum((1, 2)) / (share * solid[..., :2].square()).sum((1, 2)).clamp_min(1e-6)
    size = (share * flat.square()).sum((1, 2)).sqrt()  # against nonsense: a person is about 0.4 m in standard deviation
    scale = scale.clamp(min=size.clamp_min(1e-3))
    across = landmarks_3d[:, [P.LEFT_SHOULDER, P.LEFT_HIP]] - landmarks_3d[:, [P.RIGHT_SHOULDER, P.RIGHT_HIP]]
    facing = normalize(across.sum(1)[:, [0, 2]], dim=1)
    parts = (flat / scale[:, None, None], solid, visibility[:, USED], facing)
    return torch.cat([part.flatten(1) for part in parts], dim=1), scale


@torch.no_grad()
def read(network: LandmarkNetwork, landmarks_2d: Tensor, landmarks_3d: Tensor, visibility: Tensor) -> Reading:
    """The network's estimate; the mean of what it says of a person and of the person in a mirror."""
    found = _forward(network, landmarks_2d, landmarks_3d, visibility)
    mirror = mirrored(landmarks_2d, landmarks_3d, visibility)
    moved, sigmas, deep, spreads = (
        (a + b) / 2 for a, b in zip(found, _turned(*_forward(network, *mirror)), strict=True)
    )
    people, device = len(moved), moved.device
    every = torch.zeros(people, 33, 2, device=device)
    every[:, USED] = moved
    sizes = landmark_calibration.on(device).sigmas.repeat(people, 1)
    sizes[:, USED] = sigmas.exp()
    return Reading(every, sizes, landmark_calibration.depths(landmarks_3d) + deep, spreads.exp())


def _forward(network: LandmarkNetwork, *landmarks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return network(inputs(*landmarks)[0])


def mirrored(landmarks_2d: Tensor, landmarks_3d: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The landmarks of the person in a mirror."""
    flip = torch.tensor([-1.0, 1.0, 1.0]).to(landmarks_3d)
    other = MIRROR
    return (landmarks_2d * flip[:2])[:, other], (landmarks_3d * flip)[:, other], visibility[:, other]


def _turned(moved: Tensor, sigmas: Tensor, deep: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The network's answer about a person in a mirror, as one about the person."""
    other = [USED.index(MIRROR[k]) for k in USED]
    bones, signs = bones_in_a_mirror()
    flip = torch.tensor([-1.0, 1.0]).to(moved)
    return (moved * flip)[:, other], sigmas[:, other], deep[:, bones] * torch.tensor(signs).to(deep), spreads[:, bones]


@cache
def bones_in_a_mirror() -> tuple[list[int], list[float]]:
    """The bone that each is in a mirror, and -1 where its ends are exchanged."""
    ends = [tuple({MIRROR[k] for k in side} for side in bone[:2]) for bone in landmark_calibration.DEPTHS]
    own = [tuple(set(side) for side in bone[:2]) for bone in landmark_calibration.DEPTHS]
    same = [own.index(bone) if bone in own else own.index(bone[::-1]) for bone in ends]
    return same, [1.0 if bone in own else -1.0 for bone in ends]


def save(network: LandmarkNetwork, card: dict[str, Any], path: Path) -> None:
    """Write the weights in half precision, and beside them their card (.json)."""
    save_weights(network, path, half=True)
    write_json(path.with_suffix(".json"), {"format": FORMAT, **card})


@cache
def load(path: Path = OWN) -> LandmarkNetwork:
    """The network, ready for use. Raises UserError where a file is missing or of another kind."""
    card = read_json(path.with_suffix(".json"))
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise UserError(f"{path.with_suffix('.json')} is no card of a landmark network ('{FORMAT}'); train it anew")
    network = LandmarkNetwork()
    load_weights(network, read_weights(path), str(path))
    return network.eval()
