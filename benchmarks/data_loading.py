"""How fast photographs reach the device, and whether memory stays flat.

Makes a data set of painted people (or reads yours with --data), reads it through the trainer's loader as one training
process does (without its cache unless told), and prints images per second and the process's memory over time.
Writes benchmarks/results/data_loading.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import torch

from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name
from ag3d.core.files import write_json
from ag3d.core.shards import write_shard
from ag3d.model.body import label as labels
from ag3d.model.training.data import Loader, Sampler, ZipDataset

RESULTS = Path(__file__).with_name("results") / "data_loading.json"


def arguments() -> argparse.Namespace:
    parser = console.parser("data_loading", __doc__)
    parser.add_argument("--data", type=Path, nargs="+", help="shards of a data set; default: painted people")
    parser.add_argument("--people", type=int, default=64, help="how many people to paint")
    parser.add_argument("--side", type=int, default=512, help="side of the painted pictures")
    parser.add_argument("--resolution", type=int, default=512, help="side of the network's images")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--cache-gb", type=float, default=0.0, help="as machine.cache_gb")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to read")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def paint(numbers: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """RGBA picture and normal map that compress about as well as a real person's."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side * 2 - 1
    x, y = x / numbers.uniform(0.2, 0.35), y / numbers.uniform(0.8, 0.9)
    noise = numbers.normal(size=(2, side, side, 3)).astype(np.float32)
    folds = cv2.GaussianBlur(noise[0], (0, 0), side / 200)
    normal = np.stack([x, -y, np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))], axis=-1) + 0.5 * folds
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    inside = x**2 + y**2 < 1
    colors = 120 + 40 * cv2.GaussianBlur(noise[1], (0, 0), 1.0) + 800 * cv2.GaussianBlur(noise[1], (0, 0), side / 25)
    image = np.zeros((side, side, 4), np.uint8)
    image[..., 3] = 255 * cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.0)
    image[..., :3] = np.where(image[..., 3:] > 0, colors.clip(0, 255), 0)
    return image, np.where(inside[..., None], np.rint((normal + 1) * 127.5), 255).astype(np.uint8)


def write_people(path: Path, people: int, side: int) -> None:
    row = labels.canonical_label()[0].tolist()
    numbers = np.random.default_rng(0)
    with write_shard(path, {}) as shard:
        for number in range(people):
            image, normal = paint(numbers, side)
            shard.add_image(f"img_{number:05d}.png", image)
            shard.add_image(f"normal_{number:05d}.png", normal)
        shard.add_json("dataset.json", {"labels": {f"img_{i:05d}.png": [row[:25], row[25:]] for i in range(people)}})


def measure(dataset: ZipDataset, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Read for `args.seconds`; the first tenth of that is left out."""
    loader = Loader(dataset, Sampler(len(dataset), 0), args.batch, workers=args.workers)
    process, start = psutil.Process(), time.perf_counter()
    memory, count, counted, spent = [], 0, None, 0.0
    for batch in loader:
        for part in batch:
            part.to(device, non_blocking=True)
        now = time.perf_counter() - start
        if counted is None and now > args.seconds / 10:
            counted, count, spent = now, 0, sum(process.cpu_times()[:2])
        elif counted is not None:
            count += args.batch
        if len(memory) <= now / args.seconds * 20:
            memory.append({"seconds": round(now, 2), "rss_mb": round(process.memory_info().rss / 2**20, 1)})
        if now > args.seconds:
            break
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start - (counted or 0.0)
    spent = sum(process.cpu_times()[:2]) - spent
    loader.close()
    return {
        "images_per_second": round(count / seconds, 1),
        "cpu_ms_per_image": round(1000 * spent / max(1, count), 2),
        "images": count,
        "memory": memory,
    }


def main() -> None:
    args = arguments()
    device = choose_device("auto", "the device")
    name = device_name(device)
    with tempfile.TemporaryDirectory() as folder:
        paths = args.data
        if not paths:
            paths = [Path(folder) / "00000.zip"]
            write_people(paths[0], args.people, args.side)
        dataset = ZipDataset(paths, args.resolution, cache_bytes=int(args.cache_gb * 2**30))
        result = measure(dataset, args, device)
        size = sum(path.stat().st_size for path in paths) / len(dataset.names)
    setting = {
        "commit": provenance.code_version(),
        "device": name,
        "cores": len(os.sched_getaffinity(0)),
        "dtype": "uint8",
        "resolution": args.resolution,
        "workers": args.workers,
        "batch": args.batch,
        "cache_gb": args.cache_gb,
        "data": "given" if args.data else f"{args.people} painted people, {args.side} pixels",
        "kilobytes_per_person": round(size / 1024, 1),
    }
    print("  ".join(f"{key} {value}" for key, value in setting.items()))
    print(
        f"{result['images_per_second']:.1f} images/s at {args.resolution} px with {args.workers} workers, {result['cpu_ms_per_image']:.1f} ms of a core each"
    )
    memory = result["memory"]
    later = [row["rss_mb"] for row in memory[len(memory) // 2 :]]
    print(f"memory: {memory[0]['rss_mb']:.0f} MB at first, {later[0]:.0f} halfway, {later[-1]:.0f} at the end")
    write_json(args.output, {**setting, **result})


if __name__ == "__main__":
    console.run(main)
