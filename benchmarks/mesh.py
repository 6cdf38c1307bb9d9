"""Time of the canonical mesh of a person, from the tri-planes to coloured triangles, on one device.

As `ag3d export mesh` extracts it, on 300 voxels along the body's longest side: all triangles (mesh_300_s), and thinned out to
`--faces` (mesh_300_thinned_s). The network is of AG3D's size and untrained unless `--checkpoint` names one: a new residual is
small, so that its surface is the body's. Also told: what each step takes. The first mesh of a process, which also loads
and compiles, is not counted. Writes benchmarks/results/mesh.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ag3d.config import Network
from ag3d.core import console, provenance
from ag3d.core.device import choose_device, device_name, repeatable
from ag3d.core.files import write_json
from ag3d.model.avatars import mesh
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.generator import Generator

RESULTS = Path(__file__).with_name("results") / "mesh.json"
TARGET = 1.0  # seconds, for all triangles; the reference was not measured
STEPS = ("field_values", "marching_cubes", "largest_piece", "colors_at")


def arguments() -> argparse.Namespace:
    parser = console.parser("mesh", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--checkpoint", type=Path, help="a trained network instead of an untrained one")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--image", type=int, default=512, help="side of the untrained network's images")
    parser.add_argument("--resolution", type=int, default=300, help="voxels along the body's longest side")
    parser.add_argument("--faces", type=int, default=20000, help="triangles of the thinned mesh")
    parser.add_argument("--meshes", type=int, default=6, help="how many are made; the first is not counted")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    device = choose_device(args.device, "--device")
    repeatable(device)  # as the command does
    body = Body.load(args.body)
    if args.checkpoint:
        generator = load_generator(args.checkpoint, body, device)
    else:
        torch.manual_seed(0)
        generator = Generator(Network(image_resolution=args.image), body).to(device).eval().requires_grad_(False)
    seconds_of: dict[str, list[float]] = defaultdict(list)

    def timed_call(action: Callable[[], Any], into: str) -> Any:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        out = action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds_of[into].append(time.perf_counter() - start)
        return out

    def timed(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: timed_call(lambda: action(*args, **kwargs), name)

    face_limits = {"": None, "_thinned": args.faces}
    sizes: dict[str, int] = {}
    with torch.no_grad():
        people = [generator.planes(generator.mapping(torch.randn(1, generator.settings.z_dim, device=device))) for _ in range(args.meshes)]  # fmt: skip
    for planes in people:
        for ending, faces in face_limits.items():
            name = f"mesh_{args.resolution}{ending}_s"
            out = timed_call(lambda: mesh.canonical_mesh(generator, planes, args.resolution, faces), name)  # noqa: B023
            sizes[name] = len(out.faces)
    for name in STEPS:  # in further meshes, since waiting for the GPU between the steps costs a little
        setattr(mesh, name, timed(name, getattr(mesh, name)))
    for planes in people:
        mesh.canonical_mesh(generator, planes, args.resolution)

    card = device_name(device)
    print(f"{provenance.code_version()}  {card}  float32  torch {torch.__version__}")
    rows = []
    for name, seconds in seconds_of.items():
        value = statistics.median(seconds[1:] or seconds)
        row = {"name": name, "commit": provenance.code_version(), "device": card, "dtype": "float32", "value": value}
        row |= {"unit": "s", "reference": None, "ratio": None, "first": seconds[0]}
        if name in sizes:
            row |= {"triangles": sizes[name], "target": None if name.endswith("thinned_s") else TARGET}
        rows.append(row)
        print(f"{name:22s} {value:7.3f} s   (the first: {seconds[0]:.3f} s)")
    write_json(args.output, rows)


if __name__ == "__main__":
    console.run(main)
