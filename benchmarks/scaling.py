"""How much faster several GPUs train than one: 512 pixels, the same number of people per GPU.

Trains AG3D's network with all four discriminators for some steps on one GPU, then on more, each through torchrun as the
workflow does, and prints the ratio of people per second. Targets: 1.9 on two GPUs, 3.7 on four. Writes
benchmarks/results/scaling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from people import standing

from ag3d.config import Network, Training
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name
from ag3d.core.files import write_json
from ag3d.model.body.body import Body
from ag3d.model.precision import allow_tf32, resolve_precision
from ag3d.model.training.distributed import Processes
from ag3d.model.training.trainer import Trainer, TrainerOptions

RESULTS = Path(__file__).with_name("results") / "scaling.json"


def arguments() -> argparse.Namespace:
    parser = console.parser("scaling", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--image", type=int, default=512, help="side of the images")
    parser.add_argument("--batch", type=int, default=4, help="people per process and step")
    parser.add_argument("--steps", type=int, default=32, help="steps that are timed; 16 hold one R1 step")
    parser.add_argument(
        "--processes", type=int, nargs="+", help="numbers of processes; default: 1, 2, 4 … as GPUs allow"
    )
    parser.add_argument("--precision", default="auto", help="of the convolutions, as machine.precision")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def worker(args: argparse.Namespace) -> None:
    """One of torchrun's processes: writes the seconds of a step, as the slowest process measured them."""
    device = choose_device(args.device, "--device")
    processes = Processes.start(str(device))
    precision = resolve_precision(args.precision, device, training=True)
    allow_tf32(precision)
    network = Network(image_resolution=args.image)
    poses = standing(64)
    settings = Training(batch_size=args.batch * processes.world)
    trainer = Trainer(
        settings, network, Body.load(args.body), poses, TrainerOptions(device, processes, precision=precision)
    )
    real = torch.randint(0, 256, (args.batch, 3, args.image, args.image), dtype=torch.uint8)
    batch_of_images = (real, real.flip(0), poses[: args.batch])
    for _ in range(3):
        trainer.step(batch_of_images)
    trainer.steps = settings.d_reg_interval  # the first of the timed steps holds the R1 step
    processes.agree(0)
    started = time.perf_counter()
    for _ in range(args.steps):
        trainer.step(batch_of_images)
    if device.type == "cuda":
        torch.cuda.synchronize()
    microseconds = processes.agree(int(1e6 * (time.perf_counter() - started) / args.steps))
    if processes.rank == 0:
        Path(os.environ["SCALING_RESULT"]).write_text(json.dumps(microseconds / 1e6))
    processes.leave()


def seconds_of_a_step(count: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "seconds.json"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        subprocess.run(
            [*launcher, __file__, *sys.argv[1:]], check=True, env={**os.environ, "SCALING_RESULT": str(result)}
        )
        return float(json.loads(result.read_text()))


def main() -> None:
    args = arguments()
    if "SCALING_RESULT" in os.environ:
        worker(args)
        return
    cuda = args.device == "cuda"
    most = torch.cuda.device_count() if cuda else os.cpu_count() or 1
    name = device_name(torch.device(args.device))
    dtype = resolve_precision(args.precision, torch.device(args.device), training=True)
    print(f"{provenance.code_version()}  {name}  {dtype}  torch {torch.__version__}")
    rows = []
    alone = 0.0
    for count in args.processes or [n for n in (1, 2, 4, 8) if n <= most]:
        step = seconds_of_a_step(count)
        alone = alone or step / count
        rows.append(
            {
                "name": f"scaling_{args.image}_b{args.batch}_x{count}",
                "commit": provenance.code_version(),
                "device": name,
            }
            | {"dtype": dtype, "value": step / (args.batch * count) * 1000, "unit": "s/kimg"}
            | {"reference": None, "ratio": count * alone / step}
        )
        print(f"{count} processes  {rows[-1]['value']:8.2f} s/kimg  {rows[-1]['ratio']:.2f} × the first")
        write_json(args.output, rows)


if __name__ == "__main__":
    console.run(main)
