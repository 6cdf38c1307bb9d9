"""What bounds a training step at the reference's sizes: time by phase and by kernel, on one GPU.

Prints, for each size, milliseconds of the step's phases (with the GPU drained between them), how busy the GPU is, and
the kernels that take most of its time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from people import standing

from ag3d.config import Network, Training
from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.precision import allow_tf32, resolve_precision
from ag3d.model.training import phases
from ag3d.model.training.trainer import Trainer, TrainerOptions

PHASES = ("generator_phase", "density_phase", "discriminator_phase", "r1_phase", "generate", "fake_batch")


def arguments() -> argparse.Namespace:
    parser = console.parser("bottlenecks", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--poses", type=Path, help="labels to take poses from (.npy); default: people standing")
    parser.add_argument("--sizes", nargs="+", default=["512x4"], help="image resolution x batch")
    parser.add_argument("--precision", default="auto", help="of the convolutions, as machine.precision")
    parser.add_argument("--kernels", type=int, default=25, help="how many kernels to list")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if not torch.cuda.is_available():
        raise UserError("the profile needs a CUDA device")
    device = choose_device("cuda", "the device")
    precision = resolve_precision(args.precision, device, training=True)
    allow_tf32(precision)
    body = Body.load(args.body)
    poses = torch.from_numpy(np.load(args.poses)).float() if args.poses else standing(64)
    print(f"{provenance.code_version()}  {torch.cuda.get_device_name()}  {precision}")
    for size in args.sizes:
        side, batch = map(int, size.split("x"))
        trainer = Trainer(
            Training(batch_size=batch, density_reg=0.0, r1_gamma=5.0), Network(image_resolution=side), body, poses, TrainerOptions(device, precision=precision)
        )  # fmt: skip
        real = torch.randint(0, 256, (2, batch, 3, side, side), dtype=torch.uint8)
        batch_of_images = (real[0], real[1], poses[:batch])
        for _ in range(3):
            trainer.step(batch_of_images)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(4):
                trainer.step(batch_of_images)
            torch.cuda.synchronize()
            whole = (time.perf_counter() - start) / 4
        events = sorted(profile.key_averages(), key=lambda e: -e.self_device_time_total)
        busy = sum(e.self_device_time_total for e in events) / 4e6
        launches = sum(e.count for e in events) / 4
        print(
            f"{size}: {1000 * whole:.1f} ms a step, the GPU busy for {1000 * busy:.1f} ms with {launches:.0f} kernels"
        )
        for event in events[: args.kernels]:
            print(f"  {event.self_device_time_total / 4000:8.2f} ms {event.count / 4:7.0f}×  {event.key[:90]}")
        seconds: dict[str, list[float]] = defaultdict(list)
        parts = [(phases, name) for name in PHASES] + [(trainer.graphs, "logits"), (trainer, "end_phase")]
        plain = {name: getattr(owner, name) for owner, name in parts}
        for owner, name in parts:
            setattr(owner, name, _timed(plain[name], seconds[name]))
        trainer.steps = trainer.settings.d_reg_interval
        for _ in range(4):
            trainer.step(batch_of_images)
        for name in PHASES:
            setattr(phases, name, plain[name])
        for phase, of_phase in seconds.items():
            if of_phase:
                print(f"  {phase:22s} {1000 * statistics.median(of_phase):8.1f} ms  {len(of_phase)}×")


def _timed(action, into: list[float]):
    def run(*arguments, **options):
        torch.cuda.synchronize()
        start = time.perf_counter()
        try:
            return action(*arguments, **options)
        finally:
            torch.cuda.synchronize()
            into.append(time.perf_counter() - start)

    return run


if __name__ == "__main__":
    console.run(main)
