"""Make the table of ablations: a row for each variant, mean and spread over the seeds that it was trained with.

Writes ablations.csv, .md, .tex (booktabs) and .html. A variant without measurements is a row that was not run; measurements
of different protocols are an error.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config.ablations import FULL
from ag3d.core import console
from ag3d.core.files import write_text
from ag3d.evaluation.tables.comparison import (
    Column,
    Row,
    Table,
    Value,
    columns_of,
    entries,
    few,
    read_measurements,
    several_versions,
    table_names,
)
from ag3d.evaluation.tables.descriptions import describe
from ag3d.evaluation.tables.formats import FORMATS

log = logging.getLogger(__name__)
HEAD = ("variant", "kimg", "seeds")
CLOSE = "Too close to say which variant is best (within the spreads of the first and the second, or a single seed): {}."
SPREAD = "Mean over the seeds of the training; ± is the standard deviation between seeds."


def ablations(variants: dict[str, list[dict[str, Any]]]) -> list[Table]:
    """A table for each family of metrics: variant to its measurements, one a seed. Raises UserError when protocols mix."""
    every = [measured for members in variants.values() for measured in members]
    return [
        _table(name, variants, columns_of([m for m in every if entries(m, name)], name)) for name in table_names(every)
    ]


def _table(name: str, variants: dict[str, list[dict[str, Any]]], columns: list[Column]) -> Table:
    rows = [_row(variant, members, name) for variant, members in variants.items()]
    close = [column.name for column in columns if _close(rows, column)]
    every = [measured for members in variants.values() for measured in members]
    notes = [describe(name, [column.name for column in columns]), SPREAD, *few(every, name), *several_versions(every)]
    if close:
        notes.append(CLOSE.format(", ".join(close)))
    return Table(f"Ablations, {name}", columns, rows, HEAD, notes, name)


def _close(rows: list[Row], column: Column) -> bool:
    """Whether the best and the second best differ by less than seeds do."""
    found = [row.values[column.name] for row in rows if column.name in row.values]
    if len(found) < 2 or not column.better:
        return False
    first, second = sorted(found, key=lambda value: value.value, reverse=column.better == "higher")[:2]
    spreads = [value.deviation for value in (first, second)]
    return None in spreads or abs(first.value - second.value) <= float(np.linalg.norm(np.array(spreads, float)))


def _row(variant: str, members: list[dict[str, Any]], name: str) -> Row:
    found = [entries(measured, name) for measured in members]
    done = [columns for columns in found if columns]
    kimg = {f"{m['kimg']:g}" for m in members if m["kimg"] is not None}
    seeds = str(len(done)) if len(done) == len(found) else f"{len(done)} of {len(found)}"
    columns = dict.fromkeys(column for entry in done for column in entry)
    values = {column: _mean([entry[column] for entry in done if column in entry]) for column in columns}
    title = "full model" if variant == FULL else variant.replace("-", " ")
    return Row((title, " / ".join(sorted(kimg)) or "–", seeds), values, run=bool(done))


def _mean(metrics: list[dict[str, Any]]) -> Value:
    numbers = [metric["value"] for metric in metrics]
    protocols = sorted({metric["protocol_id"] for metric in metrics})
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    # Several protocols in one cell make one that agrees with no other: the table refuses it.
    return Value(float(np.mean(numbers)), spread, " + ".join(protocols))


def main() -> None:
    parser = console.parser("ag3d.evaluation.tables.ablations", __doc__)
    parser.add_argument(
        "--measured",
        nargs=2,
        action="append",
        required=True,
        metavar=("VARIANT", "FILE"),
        help="a variant's measurements (JSON of ag3d.evaluation.metrics) with one seed; once for each variant and seed",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    args = parser.parse_args()
    variants: dict[str, list[dict[str, Any]]] = {}
    for variant, file in args.measured:
        variants.setdefault(variant, []).extend(read_measurements([Path(file)]))
    tables = ablations(variants)
    for suffix, render in FORMATS.items():
        write_text(args.output / f"ablations.{suffix}", render(tables))
    log.info("%d variants in %s", len(variants), args.output)


if __name__ == "__main__":
    console.run(main)
