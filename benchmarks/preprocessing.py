"""How many photographs a second go through the whole chain, from files to the data set.

Renders photographs (or takes yours with --photos), runs the workflow's target `data` on them, and prints the photographs per
second, and of each stage the seconds a photograph and its largest memory. Rendering and fetching of models do not count.
Writes benchmarks/results/preprocessing.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from ag3d.core import console, provenance
from ag3d.core.files import read_table, write_json

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results") / "preprocessing.json"
STAGES = ("photos", "people", "matting", "fitting", "alignment", "normals", "dataset")


def arguments() -> argparse.Namespace:
    parser = console.parser("preprocessing", __doc__)
    parser.add_argument("--photos", type=Path, help="folder of photographs; default: synthetic ones")
    parser.add_argument("--count", type=int, default=64, help="how many to render (default: %(default)s)")
    parser.add_argument("--resolution", type=int, default=512, help="side of the data set's images")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--normals", default="network", help="method of the normals (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="where bodies are fitted")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def snakemake(folder: Path, settings: dict[str, Any], cores: int, *targets: str) -> float:
    """Run the workflow in `folder`; the seconds that it took."""
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    started = time.perf_counter()
    subprocess.run([*command, "--cores", str(cores), "--quiet", "all", "--", *targets], check=True, cwd=ROOT)
    return time.perf_counter() - started


def stages(folder: Path, photographs: int) -> dict[str, dict[str, float]]:
    """Of each stage: seconds a photograph, summed over its jobs, by the clock and of the processor (on a busy machine the
    two differ), and the largest memory of a job (MB)."""
    measured = {}
    for stage in STAGES:
        rows = []
        for path in (folder / "benchmarks" / stage).glob("*.tsv"):
            with open(path, encoding="utf-8") as handle:
                rows += list(csv.DictReader(handle, delimiter="\t"))
        memory = [float(row["max_rss"]) for row in rows if row["max_rss"] not in ("-", "NA")]
        measured[stage] = {
            "seconds_per_photograph": round(sum(float(row["s"]) for row in rows) / photographs, 4),
            "cpu_seconds_per_photograph": round(sum(float(row["cpu_time"]) for row in rows) / photographs, 4),
            "largest_mb": max(memory, default=0.0),
        }
    return measured


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings: dict[str, Any] = {
            "run": "speed",
            "dataset_name": "speed-data",
            "photos": {"shards": args.cores, "count": args.count, "seed": 99},
            "alignment": {"resolution": args.resolution},
            "dataset": {"resolution": args.resolution},
            "normals": {"method": args.normals},
            "fitting": {"device": args.device},
        }
        data = folder / "results/speed-data"
        body, models = "results/body/body.npz", "results/models/blazepose/pose_detection.tflite"
        if args.photos:
            settings["photos"] |= {"source": "folder", "path": str(args.photos.resolve())}
            snakemake(folder, settings, args.cores, body, models)
        else:
            snakemake(folder, settings, args.cores, body, models, "results/speed-data/synthetic/truth/truth.parquet")
        seconds = snakemake(folder, settings, args.cores, "data")
        photographs = sum(len(read_table(path)) for path in (data / "photos").glob("*.parquet"))
        in_data_set = photographs - len(read_table(data / "rejected.parquet"))
        result = {
            "commit": provenance.code_version(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
            "dtype": "float32",
            "cores": args.cores,
            "load_before": [round(value, 2) for value in os.getloadavg()],
            "photographs": photographs,
            "in_the_data_set": in_data_set,
            "resolution": args.resolution,
            "normals": args.normals,
            "seconds": round(seconds, 2),
            "photographs_per_second": round(photographs / seconds, 3),
            "stages": stages(data, photographs),
        }
    write_json(args.output, result)
    for stage, row in result["stages"].items():
        print(
            f"{stage:<10} {row['seconds_per_photograph']:7.3f} s a photograph ({row['cpu_seconds_per_photograph']:.3f} of the processor), {row['largest_mb']:6.0f} MB"
        )
    print(
        f"{result['commit']}  {result['device']}, {result['cores']} cores, {result['dtype']}: {photographs} photographs of "
        f"{args.resolution} pixels in {seconds:.1f} s: {result['photographs_per_second']} a second"
    )


if __name__ == "__main__":
    console.run(main)
