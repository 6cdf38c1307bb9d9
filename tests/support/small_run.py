"""A workflow run that is over in a minute or two, for tests that disturb it, and what of its results must be equal."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from support import ROOT

LONG = bool(os.environ.get("AG3D_LONG_TESTS"))  # asks for the tests that take many minutes
DATA, RUN = "small-data", "small"

# Of two equal runs, these differ: what they were made by, and how long it took.
VARYING = {
    "code", "inputs", "record", "seconds", "seconds_per_kimg", "seconds_per_image", "waiting", "memory_gb", "sha256", "versions",
    "checksum",
}  # fmt: skip


def settings(steps: int = 6, **machine: Any) -> dict[str, Any]:
    """config/smoke.yaml, smaller still: `steps` steps of training, half of them to each of two milestones."""
    small = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    small |= {"run": RUN, "dataset_name": DATA}
    small["photos"] |= {"shards": 2}
    small["synthetic"] |= {"count": 8}
    small["fitting"] = {"iterations": 40, "device": "cpu"}
    small["training"] |= {"kimg": steps * 4 / 1000}
    small["machine"] |= {
        "device": "cpu",
        "workers": 1,
        "checkpoint_minutes": 0.0,
        "log_every_images": 4,
        "preview_every": 100,
        **machine,
    }
    small["evaluation"] |= {"device": "cpu"}
    return small


def prepare(folder: Path, body: Path, configuration: dict[str, Any]) -> None:
    """A working directory with the configuration, the body (not built anew) and the landmark models."""
    (folder / "results/body").mkdir(parents=True)
    for name in ("body.npz", "garments.npz", "body.json"):
        shutil.copy(body.parent / name, folder / "results/body" / name)
    models = [sys.executable, "-m", "ag3d.preprocessing.models", "--output", str(folder / "results/models/blazepose")]
    subprocess.run(models, check=True, capture_output=True, timeout=300)
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration))


def environment(**more: str) -> dict[str, str]:
    """One thread a process: sums in the same order, and two cores not overrun."""
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def command(folder: Path, *arguments: str) -> list[str]:
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    # The number of threads changes the order of sums, and so the last digits.
    return [*line, *arguments, "--set-threads", "training=1"]


def snakemake(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    line = command(folder, *arguments)
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, env=environment(**more), timeout=1200)


def without_varying(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: without_varying(value) for name, value in content.items() if name not in VARYING}
    return [without_varying(value) for value in content] if isinstance(content, list) else content


def digest(path: Path) -> str:
    """A hash of what a file holds, without when and by which commit it was made. Raises if the file is not whole."""
    data = path.read_bytes()
    if path.suffix == ".zip":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(name, archive.read(name)) for name in sorted(archive.namelist()) if name != "record.json"]
            data = repr([(name, hashlib.sha256(entry).hexdigest()) for name, entry in entries]).encode()
    elif path.suffix == ".parquet":
        data = repr(pq.read_table(io.BytesIO(data)).to_pydict()).encode()
    elif path.suffix == ".json":
        data = json.dumps(without_varying(json.loads(data)), sort_keys=True).encode()
    elif path.suffix == ".jsonl":
        data = json.dumps([without_varying(json.loads(line)) for line in data.splitlines()], sort_keys=True).encode()
    elif path.suffix == ".html":
        assert data.rstrip().endswith(b"</html>"), f"{path} is not whole"
        data = b"whole"  # it shows dates and durations
    return hashlib.sha256(data).hexdigest()


def results(folder: Path) -> dict[str, str]:
    """A hash for every result, by its path. Not logs and durations, nor the states between milestones, nor the machine's
    settings, which change no result."""
    root = folder / "results"
    left_out = ("logs", "benchmarks", "state", "body", "models")
    files = [
        path for path in sorted(root.rglob("*")) if path.is_file() and path.name not in ("lock.json", "machine.json")
    ]
    files = [path for path in files if not set(path.relative_to(root).parts) & set(left_out)]
    return {str(path.relative_to(root)): digest(path) for path in files if not path.name.startswith(".snakemake")}


def undisturbed(folder: Path, body: Path, *targets: str, gpus: int = 0) -> dict[str, str]:
    """Hashes of the results of the targets, of a run of its own in the folder."""
    prepare(folder, body, settings(gpus=gpus))
    done = snakemake(folder, *targets, *(() if "--cores" in targets else ("--cores", "2")))
    assert done.returncode == 0, done.stdout + done.stderr
    return results(folder)


def leftovers(folder: Path) -> list[str]:
    """Temporary files that should be gone."""
    return sorted(str(path.relative_to(folder)) for path in (folder / "results").rglob("*.part*"))
