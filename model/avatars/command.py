"""What the commands that show a network's people share: options, and the network."""

from __future__ import annotations

import argparse
from pathlib import Path

from ag3d.core.device import choose_device, repeatable
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.generator import Generator


def add_network_options(parser: argparse.ArgumentParser) -> None:
    body = Path("results/body/body.npz")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of a checkpoint")
    parser.add_argument("--body", type=Path, default=body, help="body file (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 … (default: %(default)s)")


def open_network(arguments: argparse.Namespace, precision: str = "auto") -> Generator:
    """The network that the options name. For the process, the same command then gives the same numbers. Raises UserError."""
    device = choose_device(arguments.device, "--device")
    repeatable(device)
    return load_generator(arguments.checkpoint, Body.load(arguments.body), device, precision=precision)
