"""A training step of the demo on a processor, beside the same step of an older commit.

Both run by turns, in processes of their own, so that a busy machine disturbs both alike; `--threads 1` and the processor's
time are the fairest there. The work is that of the demo's configuration (config.yaml), on images of noise and people
who stand, averaged over 16 steps, which hold one R1 step. Writes benchmarks/results/demo_step.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
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
from ag3d.model.body.body import Body
from ag3d.model.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/demo_step.json"
STEPS = 16
OLD = "c354ea8"  # before the work on speed began


def arguments() -> argparse.Namespace:
    from ag3d.core import console

    parser = console.parser("demo_step", __doc__)
    parser.add_argument("--body", type=Path, default=Path("results/body/body.npz"))
    parser.add_argument("--against", default=OLD, help="commit to compare with (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=4, help="how often both take their turn (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of each process; 0: as torch chooses")
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml", help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def one(body: Path, file: Path) -> dict[str, float]:
    """Mean seconds of a step: those that passed and those that the processor worked. Also with the code of older commits."""
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    network = known(Network, {**config["network"], "departures": known(Departures, config["network"]["departures"])})
    settings = known(Training, config["training"])
    batch, interval = config["training"]["batch_size"], config["training"]["d_reg_interval"]
    device = {"device": torch.device("cpu")} if "device" in inspect.signature(Trainer).parameters else {}
    trainer = Trainer(settings, network, Body.load(body), standing(64), **device)
    side = network.image_resolution
    real = torch.randint(0, 256, (2, batch, 3, side, side), dtype=torch.uint8)
    batch_of_images = (real[0], real[1], standing(64)[:batch])
    for _ in range(2):
        trainer.step(batch_of_images)
    trainer.steps = interval
    start, work = time.perf_counter(), time.process_time()
    for _ in range(STEPS):
        trainer.step(batch_of_images)
    return {"wall": (time.perf_counter() - start) / STEPS, "work": (time.process_time() - work) / STEPS}


def with_old_keys(file: Path, output: Path) -> Path:
    """A configuration in which renamed keys stand under both names."""
    from ag3d.config.renamed import old_names

    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    for section in ("network", "training"):
        values = config[section]
        config[section] = {**values, **{old: values[new] for old, new in old_names(section) if new in values}}
    output.write_text(yaml.safe_dump(config), encoding="utf-8")
    return output


def known(kind: Any, values: dict[str, Any]) -> Any:
    """The dataclass with those of the values that this version of it knows."""
    return kind(**{field.name: values[field.name] for field in dataclasses.fields(kind) if field.name in values})


def unpack(commit: str, folder: Path) -> Path:
    """The package as it was at a commit: what belongs on Python's path."""
    archive = subprocess.run(["git", "archive", commit, "ag3d", "model", "preprocessing", "evaluation"], cwd=ROOT, check=True, capture_output=True)  # fmt: skip
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    for part in ("model", "preprocessing", "evaluation"):
        if not (folder / "ag3d" / part).is_symlink():
            shutil.move(folder / part, folder / "ag3d" / part)
    return folder


def main() -> None:
    from ag3d.core import console, provenance
    from ag3d.core.files import write_json

    args = arguments()
    seconds: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as folder:
        old = unpack(args.against, Path(folder))
        config = with_old_keys(args.config, old / "config.yaml")
        command = [sys.executable, __file__, "--one", str(args.body), str(config)]
        for _ in console.progress(range(args.rounds), "rounds", args.rounds, "round"):
            for title in seconds:
                environment = dict(os.environ) | ({"PYTHONPATH": str(old)} if title == "old" else {})
                if args.threads:
                    environment["OMP_NUM_THREADS"] = str(args.threads)
                run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
                seconds[title].append(json.loads(run.stdout.splitlines()[-1]))
    rows = []
    for name, key in (("train_demo_cpu_s", "wall"), ("train_demo_cpu_work_s", "work")):
        before, now = (statistics.median(run[key] for run in runs) for runs in seconds.values())
        rows.append(
            {"name": name, "commit": provenance.code_version(), "device": platform.processor() or platform.machine()}
            | {"dtype": "float32", "value": now, "unit": "s", "reference": before, "ratio": before / now}
            | {"reference_commit": args.against, "threads": args.threads or torch.get_num_threads()}
        )
        print(f"{name:22s} {now:.3f} s   {before:.3f} s at {args.against}: {before / now:.2f} ×")
    write_json(args.output, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:  # this process's own code; what older commits lack is imported elsewhere
        print(json.dumps(one(*map(Path, sys.argv[2:4]))))
    else:
        from ag3d.core import console

        console.run(main)
