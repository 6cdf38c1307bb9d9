"""Published values of other methods: quoted with source and protocol, never mixed with measured ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ag3d.config.settings import read_yaml
from ag3d.errors import UserError
from ag3d.evaluation.comparison import Column, Row, Table, Value


def read_published(path: Path) -> list[Table]:
    """A table for each data set and protocol of the file. Methods without values are left out. Raises UserError."""
    content = read_yaml(path)
    entries = content.get("values") or []
    if not isinstance(entries, list):
        raise UserError(f"{path}: 'values' must be a list")
    groups: dict[tuple[str, str], list[Row]] = {}
    for number, entry in enumerate(entries):
        row = _row(entry, f"{path}: values[{number}]")
        groups.setdefault((entry["data"], str(entry["protocol"])), []).append(row)
    return [
        Table(
            f"{protocol} on {data}, as published",
            [Column(name) for name in dict.fromkeys(column for row in rows for column in row.values)],
            rows,
            ("method",),
            name=f"published, {data}",
        )
        for (data, protocol), rows in groups.items()
    ]


def _row(entry: Any, where: str) -> Row:
    if not isinstance(entry, dict):
        raise UserError(f"{where} must be a mapping")
    for key in ("method", "data", "protocol", "source", "image"):
        if key not in entry:
            raise UserError(
                f"{where}: '{key}' is missing; a quoted value needs method, data, protocol, source and image"
            )
    protocol = f"{entry['protocol']}, {entry['data']}"
    values = {
        name: Value(float(entry[name]), protocol=protocol)
        for name in ("image", "normal", "face")
        if entry.get(name) is not None
    }
    return Row((str(entry["method"]),), values, str(entry["source"]))
