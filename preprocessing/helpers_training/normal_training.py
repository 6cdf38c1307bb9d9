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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.errors import UserError
from ag3d.preprocessing.helpers_training.normal_examples import Batch, Examples, make_batch, read_examples
from ag3d.preprocessing.normals import unet
from ag3d.preprocessing.normals.stage import body_backend
from ag3d.preprocessing.normals.unet import NormalNetwork
from ag3d.preprocessing.stage import stage_parser

log = logging.getLogger(__name__)
REPORTS = 12  # looks at the held-out people during a training
MAGNIFIED = 1.3  # training enlarges people up to this


def angles(normals: Tensor, true: Tensor) -> Tensor:
    """Radians [B,1,S,S] between unit vectors [B,3,S,S]; differentiable everywhere."""
    cross = torch.linalg.cross(normals, true, dim=1)
    return torch.atan2((cross.square().sum(1, keepdim=True) + 1e-8).sqrt(), (normals * true).sum(1, keepdim=True))


def mean_angle(network: NormalNetwork, batch: Batch) -> Tensor:
    """Mean angle (radians) where the true normals are known."""
    error = angles(network(batch.crop, batch.alpha, batch.body), batch.true)
    return (error * batch.known).sum() / batch.known.sum().clamp_min(1)


@torch.no_grad()
def score(network: NormalNetwork, people: Examples, device: torch.device, size: int = 32) -> np.ndarray:
    """Mean angle (degrees) of each person, [N]; NaN for who has no known normals."""
    network.eval()
    values = []
    for pixels in people.pixels.split(size):
        batch = make_batch(pixels.to(device))
        error = angles(network(batch.crop, batch.alpha, batch.body), batch.true)
        values.append(((error * batch.known).sum((1, 2, 3)) / batch.known.sum((1, 2, 3))).cpu())
    return np.degrees(torch.cat(values).numpy())


def score_of_body(people: Examples) -> np.ndarray:
    """The same of the body's normals alone (`method: body`)."""
    values = []
    for pixels in people.pixels:
        batch = make_batch(pixels[None])
        normals, alpha = batch.body[0].permute(1, 2, 0).numpy(), (255 * batch.alpha[0, 0]).byte().numpy()
        crop = np.dstack([np.zeros((*alpha.shape, 3), np.uint8), alpha])
        estimate = torch.from_numpy(body_backend(crop, normals, np.linalg.norm(normals, axis=2) > 0.5)).movedim(2, 0)
        values.append(float((angles(estimate[None].float(), batch.true) * batch.known).sum() / batch.known.sum()))
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
        batch = make_batch(self.pixels[self._next()], self.random)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            loss = mean_angle(self.network, batch)
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


def split_held_out(people: Examples, named: list[str]) -> tuple[Examples, Examples]:
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
    numbers = {"mean": values.mean(), "median": np.median(values), "p90": np.percentile(values, 90)}
    return {name: round(float(value), 3) for name, value in numbers.items()}


def train(args: Any) -> dict[str, Any]:
    """Train as the command's options say; write weights and card. Returns the card."""
    device = choose_device(args.device, "--device")
    train_people, test_people = split_held_out(read_examples(args.data), args.held_out)
    held_out = ", ".join(test_people.sources())
    log.info("%d people to learn from, %d held out (%s)", len(train_people), len(test_people), held_out)
    body = summary(score_of_body(test_people))
    training = Training(train_people, device, args.batch, args.rate, args.seed)
    started, reports = time.monotonic(), 0
    losses: list[float] = []
    while True:
        spent = time.monotonic() - started
        done = training.steps / args.steps if args.steps else spent / (60 * args.minutes)
        if done >= reports / REPORTS or done >= 1:
            scores = summary(score(training.average, test_people, device))
            recent = [value for value in losses[-2000:] if math.isfinite(value)]
            learned = f"{math.degrees(float(np.mean(recent))):.2f}" if recent else "–"
            means = scores["mean"], learned, body["mean"]
            log.info("%3.0f %%, step %d: held out %.2f°, learning %s°, body %.2f°", 100 * done, training.steps, *means)
            reports = math.floor(done * REPORTS) + 1
            told = card(args, training, train_people, test_people, scores, body, spent)
            unet.save(training.average, told, args.output)
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
    args: Any, training: Training, train_people: Examples, test_people: Examples, scores: dict, body: dict, spent: float
) -> dict[str, Any]:
    """What the weights are, what they were made from, and how they score."""
    return {
        "task": "normals of clothed people from an aligned crop and the fitted body's normals",
        "licence": "Apache-2.0; trained on renderings of CC0 data alone",
        "parameters": sum(p.numel() for p in training.network.parameters()),
        "side": 32 * round(MAGNIFIED * train_people.pixels.shape[-1] / 32),
        "trained_on": {
            "people": len(train_people),
            "data_sets": train_people.sources(),
            "side": train_people.pixels.shape[-1],
            "sha256": training.content,
        },
        "training": {
            "steps": training.steps,
            **{name: getattr(args, name) for name in ("batch", "rate", "seed")},
            "seconds": round(spent),
            "device": device_name(training.device),
        },
        "held_out": {
            "people": len(test_people),
            "data_sets": test_people.sources(),
            "unit": "degrees, mean over each person's pixels",
            "network": scores,
            "body": body,
        },
        "code": provenance.code_version(),
    }


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def main() -> None:
    paths = {
        "data": "folder of zips, or a zip, made by: ag3d normals-data",
        "output": "weights (.safetensors) to write",
    }
    parser = stage_parser("helpers_training.normal_training", __doc__, paths)
    parser.add_argument("--minutes", type=float, default=8.0, help="how long to train")
    parser.add_argument("--steps", type=int, default=0, help="how many steps instead, for results that repeat")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda …")
    parser.add_argument("--batch", type=int, default=32, help="people in a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, order and augmentation")
    parser.add_argument("--held-out", nargs="*", default=[], help="data sets to judge by (default: the last tenth)")
    args = parser.parse_args()
    if args.output.suffix != ".safetensors":
        raise UserError(f"--output is {args.output}; it must end in .safetensors")
    result = train(args)
    means = (result["held_out"][k]["mean"] for k in ("network", "body"))
    log.info("wrote %s: held out %s° (body alone %s°)", args.output, *means)


if __name__ == "__main__":
    console.run(main)
