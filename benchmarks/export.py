"""Time of a textured, rigged avatar (.glb) from a style code, step by step.

A network of AG3D's size on 300 voxels, with 20,000 triangles, a texture of 1024² painted with the network's images, and two
animations. It is untrained, which changes nothing about the work: its people are bodies. The first avatar of a process
also loads and compiles; the median of the others counts. Target on one H200: 10 s. Writes benchmarks/results/export.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from ag3d.config import Export, Network
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name, repeatable
from ag3d.core.files import write_json
from ag3d.model.avatars import mesh
from ag3d.model.avatars.identities import People
from ag3d.model.body import label as labels
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.export import stage as export
from ag3d.model.export import texture
from ag3d.model.export.clips import read_clips
from ag3d.model.generator import Generator
from ag3d.model.precision import resolve_precision, set_precision

RESULTS = Path(__file__).with_name("results") / "export.json"
TARGET = 10.0  # seconds, on an H200
STEPS: list[tuple[ModuleType, str, str]] = [
    (mesh, "field_values", "field"),
    (mesh, "marching_cubes", "marching cubes"),
    (mesh, "largest_piece", "largest piece"),
    (texture, "unwrap", "unwrapping"),
    (texture, "bake_images", "painting from images"),
    (texture, "bake", "baking, with the painting"),
    (export, "rig", "skin weights"),
    (export, "avatar_glb", "file"),
]


def arguments() -> argparse.Namespace:
    parser = console.parser("export", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--checkpoint", type=Path, help="a trained network instead of an untrained one")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--image", type=int, default=512, help="side of the untrained network's images")
    parser.add_argument("--resolution", type=int, default=300, help="voxels along the body's longest side")
    parser.add_argument("--faces", type=int, default=20000)
    parser.add_argument("--texture", type=int, default=1024)
    parser.add_argument("--colors", choices=("images", "field"), default="images")
    parser.add_argument("--avatars", type=int, default=4, help="how many are made; the first is not counted")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def network(args: argparse.Namespace, body: Body, device: torch.device) -> Generator:
    if args.checkpoint:
        return load_generator(args.checkpoint, body, device)
    torch.manual_seed(0)
    generator = Generator(Network(image_resolution=args.image), body).to(device).eval().requires_grad_(False)
    set_precision(resolve_precision("auto", device, training=False), generator)
    return generator


def timed(seconds: dict[str, list[float]], name: str, function: Callable[..., Any], wait: Callable[[], None]) -> Callable[..., Any]:  # fmt: skip
    def run(*args: Any, **kwargs: Any) -> Any:
        wait()
        start = time.perf_counter()
        out = function(*args, **kwargs)
        wait()
        seconds[name].append(time.perf_counter() - start)
        return out

    return run


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    repeatable(device)  # as the command does

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    generator = network(args, Body.load(args.body), device)
    people = People(generator, labels.canonical_label(), args.avatars, 0, 0.7)
    settings = Export(
        resolution=args.resolution, max_faces=args.faces, texture=args.texture, texture_source=args.colors
    )
    clips = read_clips(settings.motions, settings.fps)
    seconds: dict[str, list[float]] = defaultdict(list)
    for module, name, step in STEPS:
        setattr(module, name, timed(seconds, step, getattr(module, name), wait))

    def avatar(person: int) -> None:
        export.write_avatar(people, person, export.surface(people, person, settings), clips, Path(folder) / "a.glb")

    make = timed(seconds, "whole avatar", avatar, wait)
    with tempfile.TemporaryDirectory() as folder:
        for person in range(args.avatars):
            make(person)

    card = device_name(device)
    dtype = f"{resolve_precision('auto', device, training=False)} convolutions, float32 field"
    size = f"{args.image if not args.checkpoint else generator.resolution} pixels, {args.resolution} voxels, {args.faces} triangles, texture {args.texture}, {args.colors}"
    print(f"{provenance.code_version()}  {card}  {dtype}  torch {torch.__version__}\n{size}")
    rows = []
    for step, of_step in seconds.items():
        value = statistics.median(of_step[1:] or of_step)
        target = TARGET if step == "whole avatar" else None
        rows.append(
            {"name": step, "commit": provenance.code_version(), "device": card, "dtype": dtype, "size": size}
            | {"value": value, "first": of_step[0], "unit": "s", "target_on_h200": target}
        )
        print(f"{step:28s} {value:8.2f} s   (the first: {of_step[0]:.2f} s)")
    write_json(args.output, rows)


if __name__ == "__main__":
    console.run(main)
