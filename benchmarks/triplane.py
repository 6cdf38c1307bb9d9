"""The tri-planes' ways for a processor beside their references: one thread, planes and points of a demo's training step."""

from __future__ import annotations

import time

import torch

from ag3d.core import console, provenance
from ag3d.model.ops import triplane

CHANNELS, SIDE, POINTS, ROUNDS = 16, 64, 60_000, 10


def main() -> None:
    console.parser("triplane", __doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows, side = triplane.texel_table(torch.randn(4, 3, CHANNELS, SIDE, SIDE))
    at = triplane.stencil(torch.rand(POINTS, 3) * 2 - 1, torch.arange(POINTS) % 4, side)
    values, weights = torch.randn(POINTS, CHANNELS), at.weights()
    print(f"{provenance.code_version()}  cpu  float32  torch {torch.__version__}, milliseconds")
    for name, arguments in (
        ("point_gradient", (rows, at, values)),
        ("scatter_back", (len(rows), at, [(weights, values)])),
    ):
        took = {}
        for way in ("reference", "cpu"):
            function = getattr(triplane, f"{name}_{way}")
            function(*arguments)
            start = time.perf_counter()
            for _ in range(ROUNDS):
                function(*arguments)
            took[way] = 1000 * (time.perf_counter() - start) / ROUNDS
        print(
            f"{name:16s} {took['cpu']:8.1f}   reference {took['reference']:8.1f}   {took['reference'] / took['cpu']:.2f} ×"
        )


if __name__ == "__main__":
    console.run(main)
