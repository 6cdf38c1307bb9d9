"""Where the time of a metric pass goes: generating people, looking at them through the networks, and the distances.

Measures each part alone, on a checkpoint or a new network, and the pass over the generated pictures as it runs, where
the networks of the processor look at one batch while the next is generated. Without a data set, the distances are timed
between two halves of what was generated, each taken twice. Writes benchmarks/results/metrics.json.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from network import standing

from ag3d import console, provenance
from ag3d.config import Evaluation, Network
from ag3d.device import choose_device
from ag3d.evaluation import distances
from ag3d.evaluation.generated import generated
from ag3d.evaluation.protocols import chosen
from ag3d.evaluation.real import real
from ag3d.evaluation.streams import extractors, measure
from ag3d.files import write_json
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.generator import Generator
from ag3d.model.inference.people import read_poses

RESULTS = Path(__file__).with_name("results") / "metrics.json"
T = TypeVar("T")


def arguments() -> argparse.Namespace:
    parser = console.parser("metrics", __doc__)
    parser.add_argument("--checkpoint", type=Path, help="folder of a milestone (ckpt/<kimg>); default: a new network")
    parser.add_argument("--resolution", type=int, default=256, help="image side of a new network")
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--poses", type=Path, help="pose distribution (poses.npy); default: people standing")
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="zips of the data set")
    parser.add_argument("--models", type=Path, default=Path("results/models/blazepose"))
    parser.add_argument("--inception", default="", help="also FID's network, with TensorFlow's resizing")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def timed(action: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    found = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, found


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    metrics = ["frechet", "kid", "precision_recall"] + (["fid5k_full"] if args.inception else [])
    settings = Evaluation(metrics=metrics, samples=args.samples, batch=args.batch, inception=args.inception)
    body = Body.load(args.body)
    if args.checkpoint:
        generator = load_generator(args.checkpoint, body, device=device)
    else:
        generator = Generator(Network(image_resolution=args.resolution), body).to(device).eval().requires_grad_(False)
    poses = (read_poses(args.poses) if args.poses else standing(64)).numpy()
    rows: list[dict[str, Any]] = []
    for protocol in chosen(settings):
        # The sizes, noise and rays of the protocol, the number of pictures of this benchmark.
        source = type(protocol.source)(args.samples, protocol.source.reference)
        networks = extractors([protocol], args.models, settings, device)[protocol.network]

        def pictures(source=source):
            return generated(generator, poses, source, args.batch, settings.seed)

        making, kept = timed(lambda: list(pictures()))
        looking = {network.name: timed(lambda: measure(kept, [network]))[0] for network in networks}  # noqa: B023
        passing, fake = timed(lambda: measure(pictures(), networks))  # noqa: B023
        reading, true = None, {name: np.concatenate([v[len(v) // 2 :]] * 2) for name, v in fake.items()}
        if args.data:
            reading, photographs = timed(lambda: list(real(args.data, generator, source, args.batch)))  # noqa: B023
            true = measure(photographs, networks)
        else:
            fake = {name: np.concatenate([values[: len(values) // 2]] * 2) for name, values in fake.items()}
        comparing = timed(lambda: distances.of_protocol(protocol, fake, true, settings, device))[0]  # noqa: B023
        rows.append(
            {
                **{"protocol": protocol.name, "samples": args.samples, "reals": len(next(iter(true.values())))},
                **{"resolution": generator.settings.image_resolution, "generate_s": making, "networks_s": looking},
                **{"pass_s": passing, "read_data_s": reading, "distances_s": comparing, "batch": args.batch},
            }
        )
        whole = passing + comparing
        print(f"{protocol.name}: {args.samples} pictures of {generator.settings.image_resolution} pixels")
        for name, seconds in (("generating, alone", making), *((f"{k}, alone", v) for k, v in looking.items())):
            print(f"  {name:28s} {seconds:8.1f} s  {1000 * seconds / args.samples:7.2f} ms a picture")
        print(f"  {'both together':28s} {passing:8.1f} s  {passing / whole:7.0%} of the pass")
        print(f"  {'distances and bootstrap':28s} {comparing:8.1f} s  {comparing / whole:7.0%} of the pass")
        if reading is not None:
            print(f"  {'reading the data set':28s} {reading:8.1f} s  once")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    write_json(
        args.output,
        {"commit": provenance.code_version(), "device": name, "threads": torch.get_num_threads(), "passes": rows},
    )


if __name__ == "__main__":
    console.run(main)
