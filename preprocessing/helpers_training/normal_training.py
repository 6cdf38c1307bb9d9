"""Train the normal network on synthetic people.

Writes OUTPUT.safetensors and OUTPUT.json, its card: what it was trained on, how long, and how it scores on people of data
sets that training did not see. With --minutes the same command takes as long on every machine and gives other weights; with
--steps it gives the same ones on the same machine.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.errors import UserError
from ag3d.preprocessing.helpers_training.normal_examples import Batch, Examples, batch, read
from ag3d.preprocessing.normals import unet
from ag3d.preprocessing.normals.stage import body_backend
from ag3d.preprocessing.normals.unet import NormalNetwork

log = logging.getLogger(__name__)
REPORTS = 12  # looks at the held-out people during a training
MAGNIFIED = 1.3  # training enlarges people up to this


def angles(found: Tensor, true: Tensor) -> Tensor:
    """Radians [B,1,S,S] between unit vectors [B,3,S,S]; differentiable everywhere."""
    cross = torch.linalg.cross(found, true, dim=1)
    return torch.atan2((cross.square().sum(1, keepdim=True) + 1e-8).sqrt(), (found * true).sum(1, keepdim=True))


def loss_of(network: NormalNetwork, seen: Batch) -> Tensor:
    """Mean angle (radians) where the true normals are known."""
    miss = angles(network(seen.crop, seen.alpha, seen.body), seen.true)
    return (miss * seen.known).sum() / seen.known.sum().clamp_min(1)


@torch.no_grad()
def score(network: NormalNetwork, people: Examples, device: torch.device, size: int = 32) -> np.ndarray:
    """Mean angle (degrees) of each person, [N]; NaN for who has no known normals."""
    network.eval()
    values = []
    for pixels in people.pixels.split(size):
        seen = batch(pixels.to(device))
        miss = angles(network(seen.crop, seen.alpha, seen.body), seen.true)
        values.append(((miss * seen.known).sum((1, 2, 3)) / seen.known.sum((1, 2, 3))).cpu())
    return np.degrees(torch.cat(values).numpy())


def score_of_body(people: Examples) -> np.ndarray:
    """The same of the body's normals alone (`method: body`)."""
    values = []
    for pixels in people.pixels:
        seen = batch(pixels[None])
        normals, alpha = seen.body[0].permute(1, 2, 0).numpy(), (255 * seen.alpha[0, 0]).byte().numpy()
        crop = np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])
        found = torch.from_numpy(body_backend(crop, normals, np.linalg.norm(normals, axis=2) > 0.5)).permute(2, 0, 1)[
            None
        ]
        values.append(float((angles(found.float(), seen.true) * seen.known).sum() / seen.known.sum()))
    return np.degrees(np.array(values))


class Training:
    """A network, its moving average, and the people it learns from."""

    def __init__(self, people: Examples, device: torch.device, size: int, rate: float, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = NormalNetwork().to(device)
        self.average = copy.deepcopy(self.network).eval()
        self.people, self.device, self.size, self.rate = people, device, size, rate
        # On a GPU the people lie in its memory: 3,000 of 192 pixels are 1.3 GB.
        self.pixels = people.pixels.to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=0.01)
        self.order = torch.Generator().manual_seed(seed)
        self.random = torch.Generator(device).manual_seed(seed)
        self.left: list[int] = []
        self.content = content_hash(people)
        self.steps = 0

    def step(self, done: float) -> float:
        """One step; `done`: how much of the training lies behind, 0 to 1. Returns the loss (radians)."""
        self.network.train()
        warm, cool = min(1.0, (self.steps + 1) / 20), 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * warm * max(cool, 0.01)
        seen = batch(self.pixels[self._next()], self.random)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = loss_of(self.network, seen)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.steps += 1
        keep = min(0.999, self.steps / (self.steps + 10))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        return float(loss.detach()) if self.steps % 20 == 0 or self.device.type == "cpu" else math.nan

    def _next(self) -> Tensor:
        while len(self.left) < self.size:
            self.left += torch.randperm(len(self.people), generator=self.order).tolist()
        chosen, self.left = self.left[: self.size], self.left[self.size :]
        return torch.tensor(chosen, device=self.device)


def held_out(people: Examples, named: list[str]) -> tuple[Examples, Examples]:
    """People to learn from, and of other data sets to judge by; without names, the last tenth of the data sets.
    Raises UserError."""
    sources = people.sources()
    chosen = named or sources[-max(1, len(sources) // 10) :]
    if unknown := sorted(set(chosen) - set(sources)):
        raise UserError(f"--held-out names {', '.join(unknown)}; the data sets are {', '.join(sources)}")
    if set(chosen) == set(sources):
        raise UserError(f"nobody is left to learn from: the data sets are {', '.join(sources)}; pack at least two")
    return people.of(chosen, inside=False), people.of(chosen)


def summary(values: np.ndarray) -> dict[str, float]:
    values = values[np.isfinite(values)]
    return {
        "mean": round(float(values.mean()), 3),
        "median": round(float(np.median(values)), 3),
        "p90": round(float(np.percentile(values, 90)), 3),
    }


def train(args: Any) -> dict[str, Any]:
    """Train as the command's options say; write weights and card. Returns the card."""
    device = choose_device(args.device, "--device")
    learn, judge = held_out(read(args.data), args.held_out)
    log.info("%d people to learn from, %d held out (%s)", len(learn), len(judge), ", ".join(judge.sources()))
    body = summary(score_of_body(judge))
    training = Training(learn, device, args.batch, args.rate, args.seed)
    started, told = time.monotonic(), 0
    losses: list[float] = []
    while True:
        spent = time.monotonic() - started
        done = training.steps / args.steps if args.steps else spent / (60 * args.minutes)
        if done >= told / REPORTS or done >= 1:
            found = summary(score(training.average, judge, device))
            recent = [value for value in losses[-2000:] if math.isfinite(value)]
            learned = f"{math.degrees(float(np.mean(recent))):.2f}" if recent else "–"
            log.info("%3.0f %%, step %d: held out %.2f°, learning %s°, body %.2f°", 100 * done, training.steps, found["mean"], learned, body["mean"])  # fmt: skip
            told = math.floor(done * REPORTS) + 1
            unet.save(training.average, card(args, training, learn, judge, found, body, spent), args.output)
        if done >= 1:
            return unet.load(args.output)[1]
        losses.append(training.step(done))


def content_hash(people: Examples) -> str:
    """SHA-256 over names and pixels."""
    digest = hashlib.sha256("\n".join(people.names).encode())
    for pixels in people.pixels:
        digest.update(pixels.numpy().tobytes())
    return digest.hexdigest()


def card(
    args: Any, training: Training, learn: Examples, judge: Examples, found: dict, body: dict, spent: float
) -> dict[str, Any]:
    """What the weights are, what they were made from, and how they score."""
    return {
        "task": "normals of clothed people from an aligned crop and the fitted body's normals",
        "licence": "Apache-2.0; trained on renderings of CC0 data alone",
        "parameters": sum(p.numel() for p in training.network.parameters()),
        "side": 32 * round(MAGNIFIED * learn.pixels.shape[-1] / 32),
        "trained_on": {
            "people": len(learn),
            "data_sets": learn.sources(),
            "side": learn.pixels.shape[-1],
            "sha256": training.content,
        },
        "training": {
            **{"steps": training.steps, "batch": args.batch, "rate": args.rate, "seed": args.seed},
            **{"seconds": round(spent), "device": device_name(training.device)},
        },
        "held_out": {
            **{"people": len(judge), "data_sets": judge.sources(), "unit": "degrees, mean over each person's pixels"},
            **{"network": found, "body": body},
        },
        "code": provenance.code_version(),
    }


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main() -> None:
    parser = console.parser("ag3d.preprocessing.helpers_training.normal_training", __doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of zips, or a zip, made by: ag3d normals-data")
    parser.add_argument("--output", type=Path, required=True, help="weights to write (.safetensors)")
    parser.add_argument("--minutes", type=float, default=8.0, help="how long to train (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="how many steps instead, for results that repeat")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda … (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="people in a step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation")
    parser.add_argument("--held-out", nargs="*", default=[], help="data sets to judge by (default: the last tenth)")
    args = parser.parse_args()
    if args.output.suffix != ".safetensors":
        raise UserError(f"--output is {args.output}; it must end in .safetensors")
    result = train(args)
    log.info(
        "wrote %s: held out %s° (body alone %s°)",
        args.output,
        *(result["held_out"][k]["mean"] for k in ("network", "body")),
    )


if __name__ == "__main__":
    console.run(main)
