"""Damage files and let the project's readers read them.

    python -m tests.fuzz --list
    python -m tests.fuzz --runs 1000                     a thousand files for each target; slow ones fewer
    python -m tests.fuzz --seconds 500 --processes 64    as many as can be done in that time
    python -m tests.fuzz --targets motion --input FILE   one file, with the traceback

Status 1: something unclean was found; the files that did it lie in --inputs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # processes are forked, and are as many as cores
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # tests/support

from tests.fuzz.pool import Fuzzing, Result, fuzz  # noqa: E402
from tests.fuzz.targets import TARGETS, import_all  # noqa: E402


def summary(results: dict[str, Result]) -> list[str]:
    """A line for each target, and one for each finding."""
    lines = []
    for name, result in results.items():
        speed = f"{result.runs / result.seconds:8.0f}/s" if result.seconds else "         "
        told = f"left out: {result.skipped}" if result.skipped else f"{len(result.findings)} unclean"
        lines.append(f"{name:24} {result.runs:9} runs {speed}  slowest {result.slowest:5.2f} s  {told}")
    for result in results.values():
        for finding in sorted(result.findings.values(), key=lambda each: -each.count):
            lines.append(
                f"{finding.target}: {finding.kind} at {finding.place} ({finding.count} times): "
                f"{finding.message} [{finding.input}]"
            )
    return lines


def report(results: dict[str, Result], seed: int, seconds: float) -> dict:
    """The content of the JSON file."""
    findings = [dataclasses.asdict(each) for result in results.values() for each in result.findings.values()]
    targets = {
        name: {
            "runs": r.runs,
            "seconds": r.seconds,
            "slowest": r.slowest,
            "skipped": r.skipped,
            "unclean": len(r.findings),
        }
        for name, r in results.items()
    }
    runs = sum(result.runs for result in results.values())
    return {"seed": seed, "seconds": seconds, "runs": runs, "targets": targets, "findings": findings}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument(
        "--targets", nargs="+", default=[], metavar="NAME", help="these only; NAME* for all that begin so"
    )
    parser.add_argument("--runs", type=int, default=1000, help="files for each target (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.0, help="instead of --runs: how long")
    parser.add_argument(
        "--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same files for the same seed (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first file (default: %(default)s)")
    parser.add_argument("--corpus", type=Path, help="more whole files, in a folder for each target's name")
    parser.add_argument(
        "--inputs",
        type=Path,
        default=Path("build/fuzz"),
        help="where files that did harm are kept (default: %(default)s)",
    )
    parser.add_argument("--results", type=Path, help="JSON to write")
    parser.add_argument("--input", type=Path, help="read this file with the one target, and show what happens")
    arguments = parser.parse_args()
    names = [
        name for name in TARGETS if not arguments.targets or any(_fits(name, asked) for asked in arguments.targets)
    ]
    if not names:
        parser.error(f"no such target; there are: {', '.join(TARGETS)}")
    if arguments.list:
        print("\n".join(names))
        return 0
    if arguments.input:
        return _read_one(names[0], arguments.input)
    import_all()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    ) as scratch:
        fuzzing = Fuzzing(arguments.seed, Path(scratch), arguments.inputs.absolute(), arguments.corpus)
        chosen = [TARGETS[name] for name in names]
        runs = 0 if arguments.seconds else arguments.runs
        results = fuzz(fuzzing, chosen, arguments.processes, runs, arguments.seconds, arguments.first)
    seconds = time.monotonic() - start
    print("\n".join(summary(results)))
    content = report(results, arguments.seed, seconds)
    print(f"{content['runs']} runs in {seconds:.0f} s, {len(content['findings'])} unclean places")
    if arguments.results:
        arguments.results.write_text(json.dumps(content, indent=1) + "\n")
    return int(bool(content["findings"]))


def _fits(name: str, asked: str) -> bool:
    return name.startswith(asked[:-1]) if asked.endswith("*") else name == asked


def _read_one(name: str, file: Path) -> int:
    from ag3d.core import console

    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder) / target.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if target.beside is not None:
            target.beside(Path(folder))
        path.write_bytes(file.read_bytes())
        console.run(lambda: print(repr(target.read(path))[:500]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
