"""The command that trains, on a tiny data set, network and body, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from support.networks import TINY

from ag3d.config import Machine, Network, Training, to_mapping
from ag3d.config.settings import from_mapping
from ag3d.core.files import write_json

BATCH = 2


@dataclass
class Command:
    """Trains `steps` steps in `folder`. `training`, `machine`, `network`: settings that differ from these tests' defaults."""

    folder: Path
    data: list[Path]
    body: Path
    training: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    launcher: tuple[str, ...] = (sys.executable, "-m")

    def line(self, steps: int, *more: str) -> list[str]:
        training = to_mapping(
            from_mapping(Training, {"batch_size": BATCH, "density_reg_every": 2, "d_reg_interval": 2, **self.training})
        )
        machine = to_mapping(
            Machine(
                **{
                    "device": "cpu",
                    "checkpoint_minutes": 0.0,
                    "log_every_images": 4,
                    "preview_every": 100,
                    **self.machine,
                }
            )
        )
        network = to_mapping(Network(**{**TINY, **self.network}))
        config = self.folder.with_name(f"{self.folder.name}-config-{steps}.json")  # a disk may be mounted on the folder
        write_json(config, {"training": training, "network": network, "machine": machine})
        places = ["--state", str(self.folder / "train"), "--output", str(self.milestone(steps))]
        inputs = ["--data", *map(str, self.data), "--body", str(self.body), "--config", str(config)]
        kimg = str(steps * training["batch_size"] / 1000)
        return [*self.launcher, "ag3d.model.training", *inputs, *places, "--kimg", kimg, *more]

    def run(self, steps: int, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.line(steps, *more), capture_output=True, text=True, env=environment())

    def start(self, steps: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.line(steps), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        )

    def milestone(self, steps: int) -> Path:
        return self.folder / "ckpt" / f"{steps:06d}"

    def states(self) -> list[Path]:
        return sorted((self.folder / "train/state").glob("[0-9]*"))

    def weights(self, steps: int) -> dict[str, Any]:
        """Every tensor of the milestone's whole state."""
        return load_file(self.milestone(steps) / "state.safetensors")

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl without what the clock and the machine say, and the pictures made where a start ends."""
        text = (self.folder / "train/metrics.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        return [
            {name: value for name, value in row.items() if name not in CLOCK and not name.startswith("ema/")}
            for row in rows
        ]


CLOCK = {"seconds", "seconds_per_kimg", "waiting", "memory_gb", "checksum"}


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    """Until the condition holds; fails with what the process wrote when it ends before, or after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise AssertionError(f"ended too early or late: {process.communicate()[0]}")
        time.sleep(0.01)
