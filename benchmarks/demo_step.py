"""A training step of the demo on a processor, beside the same step of an older commit.

Both run by turns, in processes of their own, so that a busy machine disturbs both alike; `--threads 1` and the processor's
time are the fairest there. The work is that of the demo's configuration (config.yaml), on images of noise and people
who stand, averaged over 16 steps, which hold one R1 step. Writes benchmarks/results/demo_step.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from people import standing

from ag3d.config import Network, Training
from ag3d.config.network import Departures
from ag3d.core import console, provenance
from ag3d.core.files import write_json
from ag3d.model.body.body import Body
from ag3d.model.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/demo_step.json"
STEPS = 16
OLD = "c354ea8"  # before the work on speed began


def arguments() -> argparse.Namespace:
    parser = console.parser("demo_step", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--against", default=OLD, help="commit to compare with (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="how often both take their turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of each process; 0: as torch chooses")
    parser.add_argument("--one", action="store_true", help="only measure this process's own code, and print it as JSON")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def one(body: Path) -> dict[str, float]:
    """Mean seconds of a step: those that passed and those that the processor worked."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    network = known(Network, {**config["network"], "departures": known(Departures, config["network"]["departures"])})
    settings = known(Training, config["training"])
    trainer = Trainer(settings, network, Body.load(body), standing(64))
    real = torch.randint(0, 256, (2, settings.batch, 3, network.image_resolution, network.image_resolution), dtype=torch.uint8)  # fmt: skip
    shown = (real[0], real[1], standing(64)[: settings.batch])
    for _ in range(2):
        trainer.step(shown)
    trainer.steps = settings.d_reg_interval
    start, work = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        trainer.step(shown)
    return {"wall": (time.perf_counter() - start) / STEPS, "work": (time.process_time() - work) / STEPS}


def known(kind: Any, values: dict[str, Any]) -> Any:
    """The dataclass with those of the values that this version of it knows."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values})


def unpack(commit: str, folder: Path) -> Path:
    """The package as it was at a commit: what belongs on Python's path."""
    archive = subprocess.run(["git", "archive", commit, "ag3d", "model", "preprocessing", "evaluation"], cwd=ROOT, check=True, capture_output=True)  # fmt: skip
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    for part in ("model", "preprocessing", "evaluation"):
        shutil.move(folder / part, folder / "ag3d" / part)
    return folder


def main() -> None:
    args = arguments()
    if args.one:
        print(json.dumps(one(args.body)))
        return
    found: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as folder:
        old = unpack(args.against, Path(folder))
        command = [sys.executable, __file__, "--one", "--body", str(args.body)]
        for _ in console.progress(range(args.rounds), "rounds", args.rounds, "round"):
            for title in found:
                environment = dict(os.environ) | ({"PYTHONPATH": str(old)} if title == "old" else {})
                if args.threads:
                    environment["OMP_NUM_THREADS"] = str(args.threads)
                run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                found[title].append(json.loads(run.stdout.splitlines()[-1]))
    rows = []
    for name, key in (("train_demo_cpu_s", "wall"), ("train_demo_cpu_work_s", "work")):
        before, now = (statistics.median(run[key] for run in runs) for runs in found.values())
        rows.append(
            {"name": name, "commit": provenance.code_version(), "device": platform.processor() or platform.machine()}
            | {"dtype": "float32", "value": now, "unit": "s", "reference": before, "ratio": before / now}
            | {"reference_commit": args.against, "threads": args.threads or torch.get_num_threads()}
        )
        print(f"{name:22s} {now:.3f} s   {before:.3f} s at {args.against}: {before / now:.2f} ×")
    write_json(args.output, rows)


if __name__ == "__main__":
    console.run(main)
