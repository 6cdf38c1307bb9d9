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
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting import landmark_calibration, landmark_model
from ag3d.preprocessing.fitting import reduced_body as P
from ag3d.preprocessing.fitting.landmark_model import MIRROR, USED, LandmarkNetwork, inputs, mirrored
from ag3d.preprocessing.fitting.landmark_vertices import reduce_body
from ag3d.preprocessing.fitting.objective import project
from ag3d.preprocessing.fitting.observations import stack

log = logging.getLogger(__name__)
WRONG = 0.1  # people whose landmarks are farther off than this (mean, metres) are not learnt from: another was found
NOISE = 0.2  # added to the inputs while learning (standard deviations)
ROBUST = 8.0  # squared errors, in variances, from which on they count for less: as where bodies are fitted


@dataclass
class Examples:
    """N people, each once as they are and once in a mirror."""

    seen: Tensor  # [2N,INPUTS]
    moved: Tensor  # [2N,USED,2] metres from BlazePose's landmarks to the body's
    deep: Tensor  # [2N,bones] metres by which bones are deeper than BlazePose's

    @staticmethod
    def of(landmarks: tuple[Tensor, Tensor, Tensor], true: Tensor, depth: Tensor) -> Examples:
        """landmarks: as the network's `inputs`; true [N,33,2] pixels, depth [N,33] pixels away from the camera."""
        seen, scale = inputs(*landmarks)
        moved = (true - landmarks[0])[:, USED] / scale[:, None, None]
        depths = landmark_calibration.depths(torch.nn.functional.pad(depth[..., None], (2, 0)) / scale[:, None, None])
        return Examples(seen, moved, depths - landmark_calibration.depths(landmarks[1]))

    @staticmethod
    def joined(parts: list[Examples]) -> Examples:
        return Examples(*(torch.cat(values) for values in zip(*(vars(part).values() for part in parts), strict=True)))


def read(folder: Path, body: Body) -> Examples:
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
    landmarks = (
        stack(people["landmarks_2d"], 2),
        stack(people["landmarks_3d"], 3),
        stack(people["visibility"], 1)[..., 0],
    )
    flip = torch.tensor([-1.0, 1.0])
    plain = Examples.of(landmarks, true, depth)
    other = Examples.of(mirrored(*landmarks), (true * flip)[:, MIRROR], depth[:, MIRROR])
    right = plain.moved.norm(dim=2).mean(1) < WRONG
    log.info("%s: %d people, %d of them found right", folder.name, len(people), int(right.sum()))
    return Examples.joined([Examples(*(v[right] for v in vars(part).values())) for part in (plain, other)])


def loss_of(network: LandmarkNetwork, some: Examples, noise: float = 0.0) -> Tensor:
    """How badly the network's answers and their deviations agree with the truth: the terms by which bodies are fitted."""
    seen = some.seen + noise * network.scale * torch.randn_like(some.seen)
    moved, sure, deep, deep_sure = network(seen)
    weights = torch.tensor([P.LANDMARK_WEIGHTS[k] for k in USED])
    flat = (moved - some.moved).square().sum(2) / (2 * sure).exp()
    bones = (deep - some.deep).square() / (2 * deep_sure).exp()
    landmarks = _half(flat) + 2 * sure
    return (weights * landmarks).sum(1).mean() + (_half(bones) + deep_sure).sum(1).mean()


def _half(squared: Tensor) -> Tensor:
    return ROBUST / 2 * torch.log1p(squared / ROBUST)


def train(learn: Examples, steps: int, batch: int, rate: float, seed: int) -> LandmarkNetwork:
    torch.manual_seed(seed)
    network = LandmarkNetwork()
    network.mean.copy_(learn.seen.mean(0))
    network.scale.copy_(learn.seen.std(0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    for step in console.progress(range(steps), "learning", unit="step"):
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        chosen = torch.randint(len(learn.seen), (batch,))
        optimiser.zero_grad()
        loss_of(network, Examples(*(v[chosen] for v in vars(learn).values())), NOISE).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
    return network.eval()


@torch.no_grad()
def score(network: LandmarkNetwork | None, judged: Examples) -> dict[str, float]:
    """Mean errors in millimetres of BlazePose's size, of landmarks (weighted as in the fits) and of bones' depths; with
    deviations, errors relative to them (root of the mean square; 1 where they are right)."""
    weights = torch.tensor([P.LANDMARK_WEIGHTS[k] for k in USED])
    weights = weights / weights.sum()
    if network is None:
        flat, bones = judged.moved.norm(dim=2), judged.deep.abs()
        return {"landmarks": _mm(flat @ weights), "depths": _mm(bones)}
    moved, sure, deep, deep_sure = network(judged.seen)
    flat, bones = (moved - judged.moved).norm(dim=2), (deep - judged.deep).abs()
    relative = (flat / sure.exp()).square().mean() / 2, (bones / deep_sure.exp()).square().mean()
    return {
        **{"landmarks": _mm(flat @ weights), "depths": _mm(bones)},
        **{"landmarks_relative": round(float(relative[0].sqrt()), 2)},
        **{"depths_relative": round(float(relative[1].sqrt()), 2)},
    }


def _mm(values: Tensor) -> float:
    return round(1000 * float(values.mean()), 2)


def main() -> None:
    parser = console.parser("ag3d.preprocessing.helpers_training.landmark_training", __doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders of data sets (results/<dataset>) with a truth")
    parser.add_argument("--body", type=Path, required=True, help="the body model that they were made with")
    parser.add_argument("--output", type=Path, required=True, help="weights to write (.safetensors)")
    parser.add_argument("--steps", type=int, default=4000, help="how long to train (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="people in a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and noise")
    args = parser.parse_args()
    if args.output.suffix != ".safetensors":
        raise UserError(f"--output is {args.output}; it must end in .safetensors")
    if len(args.data) < 2:
        raise UserError("nobody is left to learn from: name at least two data sets, of which the last is held out")
    body = Body.load(args.body)
    *learn, judge = (read(folder, body) for folder in args.data)
    everybody = Examples.joined(learn)
    network = train(everybody, args.steps, args.batch, args.rate, args.seed)
    card: dict[str, Any] = {
        "task": "from BlazePose's landmarks to the body's, with deviations",
        "licence": "Apache-2.0; trained on renderings of CC0 data alone",
        "parameters": sum(p.numel() for p in network.parameters()),
        "trained_on": {"people": len(everybody.seen) // 2, "data_sets": [folder.name for folder in args.data[:-1]]},
        "training": {name: getattr(args, name) for name in ("steps", "batch", "rate", "seed")},
        "held_out": {
            **{"people": len(judge.seen) // 2, "data_set": args.data[-1].name, "unit": "millimetres"},
            **{"network": score(network, judge), "blazepose": score(None, judge)},
        },
        "code": provenance.code_version(),
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    landmark_model.save(network, card, args.output)
    log.info("wrote %s: %s; BlazePose alone %s", args.output, *(card["held_out"][k] for k in ("network", "blazepose")))


if __name__ == "__main__":
    console.run(main)
