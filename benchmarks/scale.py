"""How cost grows with the number of photographs.

planning: for folders of each of --photos files, what Snakemake needs to plan the work (seconds, memory of its process), with
and without a kept listing; and for 10 million from a kept listing that is made up.
stages: seconds of CPU and of the clock, memory, bytes and files of every stage on one shard of --shard photographs of usual
size and of a fifth of them, as the rules run them.
growth: the same on shards of each of --small photographs of 160 pixels, with crops of 64: stages' time and memory must not
depend on their number. No two photographs show the same: few open people, each shaded by a pattern of its own.
reading: the stage photos on each of --photos photographs of 128 pixels, in shards of --per-shard.
imports: data sets of AG3D's layout with each of --people people, 32 pixels, taken over, and the beginning of a training on them.
Writes benchmarks/results/scale.json after every number that it has measured; --plot draws docs/pictures/scale.png from it.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from ag3d.core import console, provenance
from ag3d.core.files import read_json, read_table, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("results") / "scale.json"
PICTURE = ROOT / "docs/pictures/scale.png"
DATA = "scale-data"
OUTPUTS = {
    "photos": "photos/00000.parquet", "people": "people/00000.parquet", "matting": "matting/00000.zip",
    "fitting": "fitting/00000.parquet", "alignment": "alignment/00000.zip", "normals": "normals/00000.zip",
    "dedup": "dedup.parquet", "dataset": "dataset/00000.zip", "rejected": "rejected.parquet", "index": "index.json",
    "poses": "poses.npy",
}  # fmt: skip
PARTS = ("stages", "growth", "reading", "imports", "planning")
SMALL = 160  # pixels: the shorter side of photographs that count as small
TINY = 32  # pixels: people of the data sets that are taken over
SMALLEST = 128  # pixels: the shorter side of the smallest photographs that the stage photos accepts
Keep = Callable[[list[dict[str, Any]]], None]  # writes a part's rows as far as they are measured


def measured(line: list[str], folder: Path) -> dict[str, float]:
    """Clock and CPU seconds and peak memory (MB) of a command, with its children."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryFile() as screen:
        process = subprocess.Popen(line, cwd=folder, stdout=screen, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        screen.seek(0)
        if status:
            sys.exit(f"{line}\n{screen.read().decode()[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(cpu, 2),
        "memory_mb": round(usage.ru_maxrss / 1024),
    }


def people(folder: Path, body: Path) -> list[bytes]:
    """A few open people as small JPEG files."""
    line = [
        sys.executable,
        "-m",
        "ag3d.preprocessing.synthetic",
        "--body",
        body / "body.npz",
        "--garments",
        body / "garments.npz",
    ]
    line += ["--output-photos", folder / "people", "--output-truth", folder / "truth", "--count", "24"]
    subprocess.run([str(word) for word in line], check=True, capture_output=True)
    return [path.read_bytes() for path in sorted((folder / "people").glob("*.jpg"))]


def shaded(pictures: list[bytes], index: int, side: int, kind: str = "JPEG") -> bytes:
    """One of the people, as large as given (shorter side, pixels; 0: as it is), under shades that are this photograph's own."""
    dice = np.random.default_rng(index)
    picture = Image.open(io.BytesIO(pictures[index % len(pictures)])).convert("RGB")
    if side:
        scale = side / min(picture.size)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BOX)
    shades = Image.fromarray(dice.integers(0, 256, (9, 7), np.uint8)).resize(picture.size, Image.Resampling.BICUBIC)
    light = 0.5 + np.asarray(shades, np.float32)[..., None] / 255
    whole = Image.fromarray(np.clip(np.asarray(picture) * light, 0, 255).astype(np.uint8))
    data = io.BytesIO()
    whole.save(data, kind, quality=90)
    return data.getvalue()


def fill(folder: Path, number: int, pictures: list[bytes] | None, side: int = 0) -> None:
    """`number` files in folders of a thousand: photographs, or empty ones."""
    for index in range(number):
        subfolder = folder / f"{index // 1000:05d}"
        if index % 1000 == 0:
            subfolder.mkdir(parents=True)
        (subfolder / f"{index:08d}.jpg").write_bytes(shaded(pictures, index, side) if pictures else b"")


def configuration(folder: Path, photos: Path, shards: int, kept: bool, resolution: int = 256) -> None:
    """`photos`: a folder of photographs, or a zip."""
    settings = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    settings |= {"run": "scale", "dataset_name": DATA}
    source = "zip" if photos.suffix == ".zip" else "folder"
    settings["photos"] = {"source": source, "path": str(photos), "shards": shards}
    settings["alignment"] = settings["dataset"] = {"resolution": resolution}
    settings["fitting"] = {"device": "cpu"}
    settings["machine"] |= {"device": "cpu", "keep_listing": kept}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def snakemake(folder: Path, *arguments: str) -> list[str]:
    line = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    return [*line, *arguments]


def plan(folder: Path) -> dict[str, float]:
    """What `snakemake -n` takes for the whole pipeline."""
    return measured(snakemake(folder, "--dry-run", "--quiet", "rules"), folder)


def growth(folder: Path, number: int, shards: int) -> dict[str, Any]:
    """Planning for a folder of `number` files; a listing opens none, so these are empty."""
    photos = folder / f"photos-{number}"
    fill(photos, number, None)
    row: dict[str, Any] = {"photos": number, "shards": shards}
    configuration(folder, photos, shards, kept=False)
    row["listed each time"] = plan(folder)
    configuration(folder, photos, shards, kept=True)
    row["first, listed once"] = plan(folder)
    row["later, listed once"] = plan(folder)
    shutil.rmtree(photos)
    shutil.rmtree(folder / "results" / DATA / "scan")
    return row


def made_up(folder: Path, number: int, shards: int) -> dict[str, Any]:
    """Planning from a kept listing that claims `number` photographs."""
    photos = folder / "photos-made-up"
    photos.mkdir(exist_ok=True)
    configuration(folder, photos, shards, kept=True)
    prints = {shard: provenance.digest(shard) for shard in range(shards)}
    record = {"folder": str(photos), "shards": shards, "number": number, "fingerprints": prints}
    write_json(folder / "results" / DATA / "scan/scan.json", record)
    row = {"photos": number, "shards": shards, "made up": True, "later, listed once": plan(folder)}
    shutil.rmtree(folder / "results" / DATA / "scan")
    return row


def stages(folder: Path, numbers: list[int], pictures: list[bytes], side: int, resolution: int, keep: Keep) -> None:
    """Every stage on one shard of few and of more photographs: what a photograph costs, and what a start costs."""
    rows: list[dict[str, Any]] = [{"stage": stage} for stage in OUTPUTS]
    home = folder / "results" / DATA
    for number in numbers:
        photos = folder / "photos-of-a-shard"
        fill(photos, number, pictures, side)
        configuration(folder, photos, 1, kept=False, resolution=resolution)
        for row in rows:
            target = home / OUTPUTS[row["stage"]]
            before = files(folder)
            cost = measured(snakemake(folder, str(target.relative_to(folder)), "--cores", "1", "--quiet"), folder)
            more = {name: size for name, size in files(folder).items() if name not in before}
            cost |= {"bytes": target.stat().st_size, "files": len(more)}
            row[f"{number} photographs"] = cost
            print(row["stage"], number, cost, flush=True)
            if number > numbers[0]:
                row |= rise(row, numbers[0], number)
                keep(rows)
        for row in rows:
            row["people"] = read_json(home / "index.json")["number"]  # in the data set, of the last number
        keep(rows)
        shutil.rmtree(photos)
        shutil.rmtree(home)


def rise(row: dict[str, Any], few: int, many: int) -> dict[str, float]:
    """What a photograph costs a stage, and its start: a line through two shards."""
    low, high = (row[f"{number} photographs"] for number in (few, many))
    slope = {name: (high[name] - low[name]) / (many - few) for name in ("cpu_seconds", "bytes")}
    return {
        "ms_per_photo": round(1000 * slope["cpu_seconds"], 1),
        "bytes_per_photo": round(slope["bytes"]),
        "seconds_to_start": round(low["cpu_seconds"] - few * slope["cpu_seconds"], 2),
    }


def reading(folder: Path, numbers: list[int], per_shard: int, pictures: list[bytes], keep: Keep) -> None:
    """The stage photos alone, over all shards of a folder: it lists the folder and looks for copies in each."""
    small = [shaded([picture], 0, SMALLEST) for picture in pictures]  # made small once, not for every photograph
    rows: list[dict[str, Any]] = []
    for number in numbers:
        photos, shards = folder / "photos-to-read", max(1, number // per_shard)
        fill(photos, number, small)
        home = folder / "results" / DATA
        row: dict[str, Any] = {"photos": number, "shards": shards}
        for name, kept in (("listed each time", False), ("listed once", True)):
            configuration(folder, photos, shards, kept)
            targets = [f"results/{DATA}/photos/{shard:05d}.parquet" for shard in range(shards)]
            before = files(folder)
            cost = measured(snakemake(folder, *targets, "--cores", "1", "--quiet"), folder)
            cost |= {"bytes": sum((folder / target).stat().st_size for target in targets)}
            cost |= {"files": len(files(folder).keys() - before.keys())}
            accepted = (int((read_table(folder / target)["status"] == "ok").sum()) for target in targets)
            cost |= {"accepted": sum(accepted)}
            row[name] = cost
            print(number, name, cost, flush=True)
            shutil.rmtree(home)
            shutil.rmtree(folder / ".snakemake")
        rows.append(row)
        keep(rows)
        shutil.rmtree(photos)


def imports(folder: Path, numbers: list[int], per_shard: int, body: Path, keep: Keep) -> None:
    """Data sets made elsewhere: what taking them over costs, and what a training on them costs before and at its first steps."""
    few = folder / "few"
    line = [sys.executable, "-m", "ag3d.preprocessing.synthetic.dataset", "--body", body / "body.npz", "--garments", body / "garments.npz", "--output", few]  # fmt: skip
    subprocess.run([*map(str, line), "--number", "24", "--resolution", str(TINY)], check=True, capture_output=True)
    home = folder / "results"
    rows: list[dict[str, Any]] = []
    for number in numbers:
        source = folder / "people.zip"
        # In a process of its own: those that are measured count the most memory of the one that starts them.
        maker = multiprocessing.get_context("spawn").Process(
            target=copies, args=(few / "dataset/00000.zip", source, number)
        )
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit(f"{source} could not be made")
        shards = max(1, number // per_shard)
        configuration(folder, source, shards, kept=False, resolution=TINY)
        data = f"results/{DATA}"
        targets = {
            "shards": [f"{data}/dataset/{shard:05d}.zip" for shard in range(shards)],
            "rejected": [f"{data}/rejected.parquet"],
            "index": [f"{data}/index.json"],
            "poses": [f"{data}/poses.npy"],
            "training": ["train"],
        }
        row: dict[str, Any] = {"people": number, "shards": shards, "zip_bytes": source.stat().st_size}
        for name, wanted in targets.items():
            before = files(folder)
            row[name] = measured(snakemake(folder, *wanted, "--cores", "1", "--quiet"), folder)
            row[name]["files"] = len(files(folder).keys() - before.keys())
            print(number, name, row[name], flush=True)
        row["taken"] = read_json(home / DATA / "index.json")["number"]
        row["bytes"] = sum((folder / name).stat().st_size for name in targets["shards"])
        rows.append(row)
        keep(rows)
        shutil.rmtree(home / DATA)
        shutil.rmtree(home / "scale")
        shutil.rmtree(folder / ".snakemake")


def copies(few: Path, many: Path, number: int) -> None:
    """A data set of `number` people: those of `few`, each under shades of its own."""
    with zipfile.ZipFile(few) as source:
        labels = json.loads(source.read("dataset.json"))["labels"]
        people = [(source.read(name), source.read(name.replace("img_", "normal_")), labels[name]) for name in sorted(labels)]  # fmt: skip
    pictures = [picture for picture, _, _ in people]
    rows = {}
    with zipfile.ZipFile(many, "w") as archive:
        for index in range(number):
            _, normal, rows[f"img_{index:06d}.png"] = people[index % len(people)]
            archive.writestr(f"img_{index:06d}.png", shaded(pictures, index, 0, "PNG"))
            archive.writestr(f"normal_{index:06d}.png", normal)
        archive.writestr("dataset.json", json.dumps({"labels": rows}))


def files(folder: Path) -> dict[str, int]:
    places = (folder / "results" / DATA, folder / "results/scale", folder / ".snakemake/metadata")
    return {str(path): path.stat().st_size for folder in places for path in folder.rglob("*") if path.is_file()}


def plot(content: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, middle, right, last) = plt.subplots(1, 4, figsize=(16, 3.6), layout="constrained")
    rows = [row for row in content["planning"]]
    for name, style in (("listed each time", "o-"), ("first, listed once", "s--"), ("later, listed once", "^-")):
        costs = [(row["photos"], row[name]) for row in rows if name in row]
        numbers = [number for number, _ in costs]
        left.plot(numbers, [cost["cpu_seconds"] for _, cost in costs], style, label=name)
        middle.plot(numbers, [cost["memory_mb"] for _, cost in costs], style, label=name)
    left.set_ylabel("seconds of CPU")
    middle.set_ylabel("memory (MB)")
    for axes, title in ((left, "snakemake -n"), (middle, "its process")):
        axes.set(xscale="log", yscale="log", xlabel="photographs", title=title)
        axes.axvspan(2e6, 2e7, color="0.92", zorder=0)
        axes.text(6.3e6, axes.get_ylim()[0] * 1.1, "listing made up", ha="center", fontsize=7)
        axes.legend(fontsize=7)
    names = [row["stage"] for row in content["stages"]]
    right.barh(names[::-1], [max(0, row["ms_per_photo"]) for row in content["stages"]][::-1])
    right.set(xlabel="ms of CPU per photograph", title="stages, after their start")
    for row in content["growth"]:
        if row["stage"] in ("dedup", "rejected", "index", "pose_distribution"):
            continue  # not of a shard
        costs = {int(name.split()[0]): cost for name, cost in row.items() if name.endswith("photographs")}
        last.plot(list(costs), [cost["memory_mb"] for cost in costs.values()], "o-", label=row["stage"])
    last.set(
        xscale="log", ylim=(0, 1000), xlabel="photographs in a shard", ylabel="memory (MB)", title="stages' memory"
    )
    last.legend(fontsize=6, ncols=2)
    figure.savefig(PICTURE, dpi=110)


def arguments() -> argparse.Namespace:
    parser = console.parser("scale", __doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--per-shard", type=int, default=10_000, help="photographs of a shard (default: %(default)s)")
    parser.add_argument(
        "--shard", type=int, default=100, help="photographs on which the stages are timed (default: %(default)s)"
    )
    parser.add_argument(
        "--small", type=int, nargs="+", default=[100, 1000, 10_000], help="small photographs in a shard"
    )
    parser.add_argument(
        "--people", type=int, nargs="+", default=[1000, 10_000, 100_000], help="people in a data set that is taken over"
    )
    parser.add_argument("--body", type=Path, default=ROOT / "results/body", help="folder of body.npz and garments.npz")
    parser.add_argument("--models", type=Path, default=ROOT / "results/models", help="folder of the landmark models")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--plot", action="store_true", help="only draw the picture from --output")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    if args.plot:
        plot(read_json(args.output))
        return
    content: dict[str, Any] = read_json(args.output) if args.output.exists() else {"commits": {}}
    content["cores"] = os.cpu_count()

    def keep(part: str) -> Keep:
        def write(rows: list[dict[str, Any]]) -> None:
            content[part] = rows
            content["commits"][part] = provenance.code_version()
            write_json(args.output, content)

        return write

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source, target in ((args.body, "body"), (args.models, "models")):
            shutil.copytree(source, folder / "results" / target)
        if "stages" in args.parts:
            stages(folder, [args.shard // 5, args.shard], people(folder, args.body), 0, 256, keep("stages"))
        if "growth" in args.parts:
            stages(folder, args.small, people(folder, args.body), SMALL, 64, keep("growth"))
        if "reading" in args.parts:
            reading(folder, args.photos, args.per_shard, people(folder, args.body), keep("reading"))
        if "imports" in args.parts:
            imports(folder, args.people, args.per_shard, args.body, keep("imports"))
        if "planning" in args.parts:
            rows = [growth(folder, number, max(1, number // args.per_shard)) for number in args.photos]
            keep("planning")([*rows, made_up(folder, 10_000_000, 10_000_000 // args.per_shard)])
    if all(part in content for part in PARTS):
        plot(content)


if __name__ == "__main__":
    console.run(main)
