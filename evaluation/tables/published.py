"""Published values of other methods: quoted with source and protocol, never mixed with measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ag3d.config.settings import read_yaml
from ag3d.core.errors import UserError
from ag3d.evaluation.tables.comparison import Column, Row, Table, Value
from ag3d.evaluation.tables.measurements import LARGEST, single_lines

NOT_ENTERED = "not entered"
STREAMS = ("image", "normal", "face")


def read_published(path: Path, data: str = "") -> list[Table]:
    """A table for each data set and protocol of the file; of one data set, where its name begins `data` (deepfashion-512).

    A method whose values nobody entered is a row that says so. Raises UserError.
    """
    content = single_lines(read_yaml(path))
    values = content.get("values") or []
    if not isinstance(values, list):
        raise UserError(f"{path}: 'values' must be a list")
    groups: dict[tuple[str, str], list[Row]] = {}
    for number, entry in enumerate(values):
        row = _row(entry, f"{path}: values[{number}]")
        if not data or _letters(data).startswith(_letters(str(entry["data"]))):
            groups.setdefault((str(entry["data"]), str(entry["protocol"])), []).append(row)
    return [
        Table(
            f"{protocol} on {name}, as published",
            [Column(stream) for stream in STREAMS if any(stream in row.values for row in rows)] or [Column("image")],
            rows,
            ("method",),
            name=f"published, {name}",
        )
        for (name, protocol), rows in groups.items()
    ]


def _row(entry: Any, where: str) -> Row:
    if not isinstance(entry, dict):
        raise UserError(f"{where} must be a mapping")
    for key in ("method", "data", "protocol", "source"):
        if not entry.get(key):
            raise UserError(f"{where}: '{key}' is missing; a quoted value needs method, data, protocol and source")
    protocol = f"{entry['protocol']}, {entry['data']}"
    try:
        written = {stream: str(entry[stream]) for stream in STREAMS if entry.get(stream) is not None}
        values = {stream: Value(float(text), protocol=protocol, written=text) for stream, text in written.items()}
        if not all(abs(value.value) < LARGEST for value in values.values()):
            raise ValueError("too large, or none")
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: the values of {', '.join(STREAMS)} must be numbers ({error})") from error
    source = str(entry["source"])
    if values and entry.get("through"):
        source += f" (second hand, through {entry['through']})"
    return Row((str(entry["method"]),), values, source, run=bool(values), absent=NOT_ENTERED)


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))
