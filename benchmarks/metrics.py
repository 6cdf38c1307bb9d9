"""Where the time of a metric pass goes: generating people, resizing, features, distances, decoding the data set.

Measures each part alone, on a checkpoint or a new network, and the pass over the generated pictures as it runs. Without a
data set one is made of the generated pictures; without inception-2015-12-05.pt a network of its shape with random
weights takes its place: as fast, its distances mean nothing. The embedded features are measured too where their models
are. Distances (matrix root, bootstrap, kernel, precision and recall) are timed on --size random vectors of each kind.
Parts that grow with the number of pictures are scaled from --samples to --size; the shares are those of such a pass.
Writes benchmarks/results/metrics.json.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import inception as stand_in
import numpy as np
import torch
from people import standing

from ag3d.config import Evaluation, Network
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name
from ag3d.core.files import write_json
from ag3d.core.shards import encode_png, write_shard
from ag3d.evaluation.metrics import fid_math, inception, kid, precision_recall
from ag3d.evaluation.metrics.distances import FeaturePair
from ag3d.evaluation.metrics.feature_extraction import extract_features, make_extractors
from ag3d.evaluation.metrics.image_sets import STREAMS, ImageBatch, RealImages, generated_images, sample_inputs
from ag3d.evaluation.metrics.protocols import Protocol, Source, requested_protocols
from ag3d.model.avatars.identities import read_poses
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.generator import Generator

RESULTS = Path(__file__).with_name("results") / "metrics.json"
T = TypeVar("T")


def arguments() -> argparse.Namespace:
    parser = console.parser("metrics", __doc__)
    parser.add_argument(
        "--checkpoint", type=Path, help="folder of a milestone (training/<kimg>); default: a new network"
    )
    parser.add_argument("--resolution", type=int, default=256, help="image side of a new network")
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--poses", type=Path, help="pose distribution (poses.npy); default: people standing")
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="zips of a data set; default: one is made")
    parser.add_argument(
        "--models", type=Path, default=Path("results/models/blazepose"), help="of the embedded features"
    )
    parser.add_argument("--inception", default="", help="FID's network; default: one of its shape, random weights")
    parser.add_argument("--samples", type=int, default=500, help="pictures that are generated and looked at")
    parser.add_argument("--size", type=int, default=5000, help="pictures of the pass whose shares are printed")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def timed(action: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


class Pass:
    """One network, measured under several protocols."""

    def __init__(self, args: argparse.Namespace, generator: Generator, folder: Path) -> None:
        self.args, self.generator, self.folder = args, generator, folder
        self.device = next(generator.parameters()).device
        self.poses = (read_poses(args.poses) if args.poses else standing(64)).numpy()
        self._generated: dict[Source, tuple[float, list[ImageBatch]]] = {}
        self._decoded: dict[Source, tuple[float, int]] = {}
        self._compared: dict[int, dict[str, float]] = {}

    def image_batches(self, source: Source):
        return generated_images(self.generator, self.poses, source, self.args.batch, seed=0)

    def generate(self, source: Source) -> tuple[float, list[ImageBatch]]:
        """Seconds and pictures, of generating alone."""
        if source not in self._generated:
            list(self.image_batches(Source(2 * self.args.batch, source.reference)))  # compiles and records
            self._generated[source] = timed(lambda: list(self.image_batches(source)))
        return self._generated[source]

    def decode(self, source: Source) -> tuple[float, int]:
        """Seconds of reading the data set, and the number of its people."""
        if source not in self._decoded:
            zips = self.args.data or [self._data_set(source)]
            seconds, batches = timed(lambda: list(RealImages(zips, self.generator, source).batches(self.args.batch)))
            self._decoded[source] = seconds, sum(len(batch.image) for batch in batches)
        return self._decoded[source]

    def compare(self, dimensions: int, settings: Evaluation) -> dict[str, float]:
        """Seconds of each distance of the three streams."""
        if dimensions not in self._compared:
            self._compared[dimensions] = comparing(self.args.size, dimensions, settings, self.device)
        return self._compared[dimensions]

    def _data_set(self, source: Source) -> Path:
        """The generated people as a data set."""
        path = self.folder / "data.zip"
        if path.exists():
            return path
        labels = sample_inputs(self.poses, source.samples, self.generator.settings.z_dim, 0)[1].numpy()
        side = self.generator.settings.image_resolution
        with write_shard(path, {}) as shard, ThreadPoolExecutor(os.cpu_count()) as threads:
            for kind, stream in (("img", "image"), ("normal", "normal")):
                pictures = [
                    enlarged(one, side) for batch in self.generate(source)[1] for one in batch.streams()[stream]
                ]
                for index, data in enumerate(threads.map(encode_png, pictures)):
                    shard.add(f"{kind}_{index:06d}.png", data)
            shard.add_json(
                "dataset.json", {"labels": [[f"img_{k:06d}.png", row.tolist()] for k, row in enumerate(labels)]}
            )
        return path

    def row(self, protocol: Protocol, settings: Evaluation) -> dict[str, Any]:
        """Seconds of every part, for `samples` pictures where they grow with them."""
        args, source = self.args, Source(self.args.samples, protocol.source.reference)
        networks = make_extractors([protocol], args.models, settings, self.device)[protocol.network]
        generate_s, batches = self.generate(source)
        extract_features(batches[:2], networks)
        looking = {network.name: timed(lambda: extract_features(batches, [network]))[0] for network in networks}  # noqa: B023
        passing, features = timed(lambda: extract_features(self.image_batches(source), networks))
        reading, people = self.decode(source)
        dimensions = max(values.shape[1] for values in features.values())
        return {
            **{"protocol": protocol.name, "samples": args.samples, "batch": args.batch},
            **{"resolution": self.generator.settings.image_resolution, "generate_s": generate_s, "networks_s": looking},
            **{"resize_s": resizing(batches, protocol.network, self.device), "pass_s": passing},
            **{"data_people": people, "read_data_s": reading, "dimensions": dimensions, "size": args.size},
            "distances_s": self.compare(dimensions, settings),
        }


def enlarged(image: np.ndarray, side: int) -> np.ndarray:
    return image if len(image) == side else cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)


def resizing(batches: list[ImageBatch], network: str, device: torch.device) -> float | None:
    """Seconds of making the network's input of all pictures of all streams; None where it is not a step of its own."""
    pictures = [images for batch in batches for images in batch.streams().values()]

    def clean() -> None:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            for images in pictures:
                list(threads.map(inception.resize, map(inception.to_uint8, images)))

    def legacy() -> None:
        for images in pictures:
            pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device, torch.float32)
            inception.resize_tensorflow(pixels)

    ways = {"clean": clean, "legacy_tensorflow": legacy}
    return timed(ways[network])[0] if network in ways else None


def comparing(size: int, dimensions: int, settings: Evaluation, device: torch.device) -> dict[str, float]:
    """Seconds of each distance of the three streams, of `size` random vectors with the falling spectrum of features."""
    random = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(dimensions))
    x, y = ((random.standard_normal((size, dimensions)) * scale).astype(np.float32) for _ in range(2))
    fid_math.frechet_distance_approx(x[:64], y[:64], device)
    parts: dict[str, Callable[[], object]] = {
        "matrix root": lambda: fid_math.frechet_distance(x, y, device),
        "bootstrap": lambda: fid_math.bootstrap(x, y, settings.bootstrap, 0, device),
        "floor": lambda: FeaturePair(x, y, settings, device).floor(
            lambda a, b: fid_math.frechet_distance_approx(a, b, device)
        ),
        "kernel": lambda: kid.kernel_distance(x, y, device),
        "precision and recall": lambda: precision_recall.precision_recall(x, y, device=device),
    }
    return {name: len(STREAMS) * timed(part)[0] for name, part in parts.items()}


def shares(row: dict[str, Any]) -> dict[str, float]:
    """Seconds of each part of a pass of `size` pictures over as many people."""
    grown = row["size"] / row["samples"]
    looking = sum(row["networks_s"].values()) * grown
    resized = (row["resize_s"] or 0.0) * grown
    return {
        "generation": row["generate_s"] * grown,
        **({"resizing": resized} if row["resize_s"] is not None else {}),
        "features": looking - resized,
        "decoding the data set (once)": row["read_data_s"] * row["size"] / row["data_people"],
        "features of the data set (once)": looking,
        **row["distances_s"],
    }


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    body = Body.load(args.body)
    if args.checkpoint:
        generator = load_generator(args.checkpoint, body, device=device)
    else:
        generator = Generator(Network(image_resolution=args.resolution), body).to(device).eval().requires_grad_(False)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        weights = args.inception or str(stand_in.save(Path(folder) / "inception-2015-12-05.pt"))
        metrics = ["fid5k_full", "clean_fid5k_full", "kid", "precision_recall"]
        if (args.models / "selfie_segmentation.tflite").exists():
            metrics.append("frechet")
        else:
            print(f"no models in {args.models}: the embedded features are not measured")
        settings = Evaluation(metrics=metrics, num_images=args.samples, batch=args.batch, inception=weights)
        work = Pass(args, generator, Path(folder))
        for protocol in requested_protocols(settings):
            row = work.row(protocol, settings)
            row["network"] = protocol.network if args.inception or protocol.network == "embedded" else "random weights"
            row["whole_s"] = shares(row)
            rows.append(row)
            print_row(row)
    name = device_name(device)
    write_json(
        args.output,
        {"commit": provenance.code_version(), "device": name, "threads": torch.get_num_threads(), "passes": rows},
    )


def print_row(row: dict[str, Any]) -> None:
    print(f"{row['protocol']}: {row['samples']} pictures of {row['resolution']} pixels, scaled to {row['size']}")
    whole = sum(row["whole_s"].values())
    for name, seconds in row["whole_s"].items():
        print(f"  {name:34s} {seconds:8.1f} s  {seconds / whole:6.1%}")
    alone = row["generate_s"] + sum(row["networks_s"].values())
    print(f"  generating and looking together: {row['pass_s']:.1f} s, one after the other {alone:.1f} s (not scaled)")


if __name__ == "__main__":
    console.run(main)
