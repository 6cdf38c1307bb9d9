"""Train the network that relates BlazePose's landmarks to the body, on synthetic people whose bodies are known.

Reads data sets made from synthetic photographs up to the stage `people`; the last is held out. Takes a few minutes of one CPU
core. Writes OUTPUT.safetensors and OUTPUT.json, its card: what it was trained on, and how it scores on the held-out people.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ag3d.core import console, provenance
from ag3d.core.camera import project
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.landmarks import MIRRORED_LANDMARKS
from ag3d.core.tensor_dataclass import TensorDataclass
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting import landmark_model
from ag3d.preprocessing.fitting.landmark_model import (
    LANDMARK_WEIGHTS,
    USED,
    LandmarkNetwork,
    bone_depths,
    mirrored,
    network_inputs,
)
from ag3d.preprocessing.fitting.observations import landmark_column
from ag3d.preprocessing.fitting.reduced_body import reduce_body

log = logging.getLogger(__name__)
WRONG = 0.1  # people whose landmarks are farther off than this (mean, metres) are not learnt from: another was found
NOISE = 0.2  # added to the inputs while learning (standard deviations)
ROBUST = 8.0  # squared errors, in variances, from which on they count for less: as where bodies are fitted


@dataclass
class Examples(TensorDataclass):
    """N people, each once as they are and once in a mirror."""

    inputs: Tensor  # [2N,INPUTS]
    offsets: Tensor  # [2N,USED,2] metres from BlazePose's landmarks to the body's
    depths: Tensor  # [2N,bones] metres by which bones are deeper than BlazePose's

    @staticmethod
    def of(landmarks: tuple[Tensor, Tensor, Tensor], true: Tensor, depth: Tensor) -> Examples:
        """landmarks: as for `network_inputs`; true [N,33,2] pixels, depth [N,33] pixels away from the camera."""
        inputs, scale = network_inputs(*landmarks)
        offsets = (true - landmarks[0])[:, USED] / scale[:, None, None]
        depths = bone_depths(torch.nn.functional.pad(depth[..., None], (2, 0)) / scale[:, None, None])
        return Examples(inputs, offsets, depths - bone_depths(landmarks[1]))


def read_examples(folder: Path, body: Body) -> Examples:
    """The people of a data set. Raises UserError where it has no truth."""
    table = folder / "synthetic/truth/truth.parquet"
    if not table.exists():
        raise UserError(f"{folder} has no truth (synthetic/truth); only synthetic photographs have one")
    people = pd.concat([read_table(path) for path in sorted((folder / "people").glob("*.parquet"))])
    people = people[people["status"] == "ok"]
    truth = read_table(table).set_index("photo_id").loc[people["photo_id"]]
    factor = torch.tensor(people["width"].to_numpy() / truth["width"].to_numpy())

    def numbers(*columns: str) -> list[Tensor]:
        return [torch.from_numpy(np.stack(truth[name]).astype(np.float32)) for name in columns]

    betas, pose, orient, transl = numbers("betas", "body_pose", "global_orient", "transl")
    half, x, y = (torch.tensor(truth[name].to_numpy()) * factor for name in ("half", "centre_x", "centre_y"))
    points, _ = reduce_body(body)(betas, axis_angle_to_matrix(orient), pose, 33)
    points = points + transl[:, None]
    true = project(points, half.float(), torch.stack([x, y], 1).float())
    depth = points[..., 2] * half.float()[:, None]
    columns = (("landmarks_2d", 2), ("landmarks_3d", 3), ("visibility", 1))
    landmarks_2d, landmarks_3d, visibility = (landmark_column(people[name], size) for name, size in columns)
    landmarks, flip = (landmarks_2d, landmarks_3d, visibility[..., 0]), torch.tensor([-1.0, 1.0])
    plain = Examples.of(landmarks, true, depth)
    flipped = Examples.of(mirrored(*landmarks), (true * flip)[:, MIRRORED_LANDMARKS], depth[:, MIRRORED_LANDMARKS])
    right = plain.offsets.norm(dim=2).mean(1) < WRONG
    log.info("%s: %d people, %d of them found right", folder.name, len(people), int(right.sum()))
    return Examples.cat([plain[right], flipped[right]])


def negative_log_likelihood(network: LandmarkNetwork, examples: Examples, noise: float = 0.0) -> Tensor:
    """How badly the network's answers and their deviations agree with the truth: the terms by which bodies are fitted."""
    inputs = examples.inputs + noise * network.scale * torch.randn_like(examples.inputs)
    offsets, log_std, depths, depth_log_std = network(inputs)
    weights = torch.tensor([LANDMARK_WEIGHTS[k] for k in USED])
    error = (offsets - examples.offsets).square().sum(2) / (2 * log_std).exp()
    depth_error = (depths - examples.depths).square() / (2 * depth_log_std).exp()
    landmarks = _half_cauchy(error) + 2 * log_std
    return (weights * landmarks).sum(1).mean() + (_half_cauchy(depth_error) + depth_log_std).sum(1).mean()


def _half_cauchy(squared: Tensor) -> Tensor:
    return ROBUST / 2 * torch.log1p(squared / ROBUST)


def train(examples: Examples, steps: int, batch: int, rate: float, seed: int) -> LandmarkNetwork:
    torch.manual_seed(seed)
    network = LandmarkNetwork()
    network.mean.copy_(examples.inputs.mean(0))
    network.scale.copy_(examples.inputs.std(0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    for step in console.progress(range(steps), "learning", unit="step"):
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        rows = torch.randint(len(examples.inputs), (batch,))
        optimiser.zero_grad()
        negative_log_likelihood(network, examples[rows], NOISE).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
    return network.eval()


@torch.no_grad()
def score(network: LandmarkNetwork | None, examples: Examples) -> dict[str, float]:
    """Mean errors in millimetres of BlazePose's size, of landmarks (weighted as in the fits) and of bones' depths; with
    deviations, errors relative to them (root of the mean square; 1 where they are right)."""
    weights = torch.tensor([LANDMARK_WEIGHTS[k] for k in USED])
    weights = weights / weights.sum()
    if network is None:
        error, depth_error = examples.offsets.norm(dim=2), examples.depths.abs()
        return {"landmarks": _mm(error @ weights), "depths": _mm(depth_error)}
    offsets, log_std, depths, depth_log_std = network(examples.inputs)
    error, depth_error = (offsets - examples.offsets).norm(dim=2), (depths - examples.depths).abs()
    relative = (error / log_std.exp()).square().mean() / 2, (depth_error / depth_log_std.exp()).square().mean()
    return {
        "landmarks": _mm(error @ weights),
        "depths": _mm(depth_error),
        "landmarks_relative": round(float(relative[0].sqrt()), 2),
        "depths_relative": round(float(relative[1].sqrt()), 2),
    }


def _mm(values: Tensor) -> float:
    return round(1000 * float(values.mean()), 2)


def main() -> None:
    parser = console.parser("ag3d.preprocessing.helpers_training.landmark_training", __doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders of data sets (results/<dataset>) with a truth")
    parser.add_argument("--body", type=Path, required=True, help="the body model that they were made with")
    parser.add_argument("--output", type=Path, required=True, help="weights to write (.safetensors)")
    parser.add_argument("--steps", type=int, default=4000, help="how long to train")
    parser.add_argument("--batch", type=int, default=64, help="people in a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and noise")
    args = parser.parse_args()
    if args.output.suffix != ".safetensors":
        raise UserError(f"--output is {args.output}; it must end in .safetensors")
    if len(args.data) < 2:
        raise UserError("nobody is left to learn from: name at least two data sets, of which the last is held out")
    body = Body.load(args.body)
    *parts, held_out = (read_examples(folder, body) for folder in args.data)
    examples = Examples.cat(parts)
    network = train(examples, args.steps, args.batch, args.rate, args.seed)
    card: dict[str, Any] = {
        "task": "from BlazePose's landmarks to the body's, with deviations",
        "licence": "Apache-2.0; trained on renderings of CC0 data alone",
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained_on": {"people": len(examples.inputs) // 2, "data_sets": [folder.name for folder in args.data[:-1]]},
        "training": {name: getattr(args, name) for name in ("steps", "batch", "rate", "seed")},
        "held_out": {
            "people": len(held_out.inputs) // 2,
            "data_set": args.data[-1].name,
            "unit": "millimetres",
            "network": score(network, held_out),
            "blazepose": score(None, held_out),
        },
        "code": provenance.code_version(),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    landmark_model.save(network, card, args.output)
    log.info("wrote %s: %s; BlazePose alone %s", args.output, *(card["held_out"][k] for k in ("network", "blazepose")))


if __name__ == "__main__":
    console.run(main)
