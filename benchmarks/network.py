"""Time and memory of training and inference at the reference's sizes, on one device.

Prints each number with its ratio to what AG3D's released code needs on one H200 (torch 2.11, TF32 off, 36 + 36 samples,
all four discriminators, R1 every 16 steps; no density regulariser, so none here). Above 1 is faster, or smaller, than
the reference. The ratio means something on an H200 only. Writes benchmarks/results/network.json.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from people import standing

from ag3d.config import Network, Training
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name
from ag3d.core.files import write_json
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.precision import allow_tf32, resolve_precision, set_precision
from ag3d.model.training.trainer import Trainer, TrainerOptions

RESULTS = Path(__file__).with_name("results") / "network.json"
REFERENCE = {
    "train_512_b4_s_per_kimg": 231.0,
    "train_512_b4_peak_gb": 66.8,
    "train_256_b8_s_per_kimg": 98.0,
    "train_256_b8_peak_gb": 36.6,
    "infer_512_b1_ms": 78.9,
    "infer_256_b1_ms": 40.6,
}
UNITS = {"kimg": "s/kimg", "gb": "GB", "ms": "ms"}


def arguments() -> argparse.Namespace:
    parser = console.parser("network", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--poses", type=Path, help="labels to take poses from (.npy); default: people standing")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--steps", type=int, default=16, help="steps of training that are timed; 16 hold one R1 step")
    parser.add_argument("--sizes", nargs="+", default=["512x4", "256x8"], help="image resolution x batch")
    parser.add_argument("--precision", default="auto", help="of the convolutions, as machine.precision")
    parser.add_argument(
        "--no-record", dest="record", action="store_false", help="train as with machine.cuda_graphs: false"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


class Clock:
    def __init__(self, device: torch.device) -> None:
        self.device = device

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, action: Callable[[], object]) -> float:
        self.wait()
        start = time.perf_counter()
        action()
        self.wait()
        return time.perf_counter() - start


def training(
    clock: Clock,
    network: Network,
    batch: int,
    body: Body,
    poses: torch.Tensor,
    steps: int,
    precision: str,
    record: bool,
) -> dict[str, float]:
    """Mean seconds per 1000 images, warmed up, and peak memory."""
    settings = Training(batch_size=batch, density_reg=0.0, r1_gamma=5.0)
    if clock.device.type == "cuda":
        gc.collect()  # what was measured before
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(clock.device)
    trainer = Trainer(
        settings, network, body, poses, TrainerOptions(clock.device, precision=precision, cuda_graphs=record)
    )
    g = torch.Generator().manual_seed(1)
    side = network.image_resolution
    real = [torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, generator=g) for _ in range(2)]
    batch_of_images = (real[0], real[1], poses[:batch])
    for _ in range(3):
        trainer.step(batch_of_images)
    trainer.steps = settings.d_reg_interval  # the first of the timed steps holds the R1 step
    seconds = clock.seconds(lambda: [trainer.step(batch_of_images) for _ in range(steps)])
    name = f"train_{side}_b{batch}"
    rows = {f"{name}_s_per_kimg": seconds / steps / batch * 1000}
    if clock.device.type == "cuda":
        # What is taken from the card: recorded launches keep memory that does not count as allocated.
        rows[f"{name}_peak_gb"] = torch.cuda.max_memory_reserved(clock.device) / 1e9
    return rows


@torch.no_grad()
def inference(clock: Clock, network: Network, body: Body, poses: torch.Tensor, precision: str) -> dict[str, float]:
    """Median milliseconds of one picture with its normals, from a latent code and a new pose each time."""
    generator = Generator(network, body).to(clock.device).eval()
    set_precision(precision, generator)
    generator.enable_cuda_graphs()
    seconds = []
    for index in range(40):
        z = torch.randn(1, network.z_dim, device=clock.device)
        label = poses[index % len(poses)][None].to(clock.device)
        seconds.append(clock.seconds(lambda: generator(z, label, noise_mode="const", deterministic=True)))  # noqa: B023
    return {f"infer_{network.image_resolution}_b1_ms": 1000 * statistics.median(seconds[15:])}


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    train_dtype, render_dtype = (resolve_precision(args.precision, device, training) for training in (True, False))
    allow_tf32(train_dtype)
    body = Body.load(args.body)
    poses = torch.from_numpy(np.load(args.poses)).float() if args.poses else standing(64)
    name = device_name(device)
    print(f"{provenance.code_version()}  {name}  {train_dtype}, pictures in {render_dtype}  torch {torch.__version__}")
    rows: list[dict[str, Any]] = []
    for size in args.sizes:
        side, batch = map(int, size.split("x"))
        network = Network(image_resolution=side)
        clock = Clock(device)
        measured = training(clock, network, batch, body, poses, args.steps, train_dtype, args.record)
        measured |= inference(clock, network, body, poses, render_dtype)
        for key, value in measured.items():
            reference = REFERENCE.get(key)
            ratio = reference / value if reference else None
            rows.append(
                {"name": key, "commit": provenance.code_version(), "device": name, "value": value}
                | {"dtype": render_dtype if key.startswith("infer") else train_dtype}
                | {"unit": UNITS[key.rpartition("_")[2]], "reference": reference, "ratio": ratio}
            )
            print(
                f"{key:26s} {value:10.2f} {rows[-1]['unit']:7s}" + (f"  {ratio:.2f} × the reference" if ratio else "")
            )
        write_json(args.output, rows)


if __name__ == "__main__":
    console.run(main)
