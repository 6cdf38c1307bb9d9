"""Speed and memory of the network as a table, from what benchmarks/network.py wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ag3d.config.settings import short
from ag3d.core.errors import UserError
from ag3d.core.files import read_json
from ag3d.evaluation.tables.comparison import Column, Row, Table, Value
from ag3d.evaluation.tables.measurements import LARGEST, single_lines

KEYS = ("name", "device", "value", "dtype")
SOURCE = "AG3D's released code, measured on one H200 with 36 + 36 samples a ray and without TF32"
_NAME = re.compile(r"(?P<what>train|infer)_(?P<side>\d+)_b(?P<batch>\d+)_(?P<unit>s_per_kimg|peak_gb|ms)")
_COLUMNS = {"s_per_kimg": ("training", "s/kimg", "lower"), "peak_gb": ("training", "GB", "lower")}
_COLUMNS |= {"ms": ("pictures", "FPS", "higher")}
NOTE = (
    "Seconds of training for a thousand images and the peak of the GPU's memory; pictures with normals a second, one at a "
    "time, each in a new pose. px: side of the images; ×: batch."
)


def read_speed(paths: list[Path]) -> list[Table]:
    """A table for each kind of device: numbers of different devices do not compare. Raises UserError."""
    rows: dict[str, list[Row]] = {}
    columns: dict[str, dict[str, Column]] = {}
    for path in paths:
        runs: dict[tuple[str, str, str], dict[str, Value]] = {}
        quoted: dict[str, Value] = {}
        for entry in _entries(path):
            column, value = _measure(entry["name"], entry["value"], path)
            device = str(entry["device"])
            columns.setdefault(device, {})[column.name] = column
            key = (str(entry.get("commit", "–")), device, str(entry["dtype"]))
            runs.setdefault(key, {})[column.name] = Value(value, protocol=device)
            if entry.get("reference") and "H200" in device:
                quoted[column.name] = Value(_measure(entry["name"], entry["reference"], path)[1], protocol=device)
        for (commit, device, dtype), values in runs.items():
            rows.setdefault(device, []).append(Row((path.stem, commit[:12], dtype), values))
            if quoted and not any(row.source for row in rows[device]):
                rows[device].append(Row(("AG3D's release", "–", "float32"), quoted, SOURCE))
    return [
        Table(
            f"speed and memory on {device}",
            list(columns[device].values()),
            members,
            ("benchmark", "version", "precision"),
            [NOTE],
            "speed",
        )
        for device, members in rows.items()
    ]


def _entries(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        raise UserError(f"{path} does not exist; make it with: python benchmarks/network.py")
    content = single_lines(read_json(path))
    if not isinstance(content, list) or not all(isinstance(e, dict) and e.keys() >= set(KEYS) for e in content):
        raise UserError(f"{path} is not a file of benchmarks/network.py: a list of entries with {', '.join(KEYS)}")
    return content


def _measure(name: str, value: float, path: Path) -> tuple[Column, float]:
    """Column and number of a benchmark; milliseconds become pictures a second."""
    match = _NAME.fullmatch(str(name))
    if not match:
        raise UserError(f"{path}: '{name}' is no benchmark of speed or memory")
    if type(value) not in (int, float) or not 0 < value < LARGEST:
        raise UserError(f"{path}: '{name}' is {short(value)}, which is no measured number")
    what, unit, better = _COLUMNS[match["unit"]]
    batch = f" ×{match['batch']}" if match["what"] == "train" else ""
    number = 1000 / float(value) if match["unit"] == "ms" else float(value)
    return Column(f"{what} {match['side']} px{batch}, {unit}", better), number
