"""Make the table of ablations: a row for each variant, mean and spread over the seeds that it was trained with.

Writes ablations.csv, .md, .tex (booktabs), .html and .json. A variant without measurements is a row that was not run;
measurements of different protocols are an error.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from ag3d.config.ablations import FULL
from ag3d.core import console
from ag3d.evaluation.tables.comparison import (
    Column,
    Row,
    Table,
    Value,
    bias_notes,
    columns_of,
    metrics_in,
    table_names,
    version_notes,
)
from ag3d.evaluation.tables.descriptions import describe
from ag3d.evaluation.tables.formats import write_tables
from ag3d.evaluation.tables.measurements import Measurement, Metric, read_measurements

log = logging.getLogger(__name__)
HEAD = ("variant", "kimg", "seeds")
CLOSE = "Too close to say which variant is best (within the spreads of the first and the second, or a single seed): {}."
DEVIATION = "Mean over the seeds of the training; ± is the standard deviation between seeds."


def ablations(variants: dict[str, list[Measurement]]) -> list[Table]:
    """A table for each family of metrics: variant to its measurements, one a seed. Raises UserError when protocols mix."""
    return [_table(name, variants) for name in table_names(_all(variants))]


def _all(variants: dict[str, list[Measurement]]) -> list[Measurement]:
    return [measurement for of_seeds in variants.values() for measurement in of_seeds]


def _table(name: str, variants: dict[str, list[Measurement]]) -> Table:
    measurements = _all(variants)
    columns = columns_of([m for m in measurements if metrics_in(m, name)], name)
    rows = [_row(variant, of_seeds, name) for variant, of_seeds in variants.items()]
    description = describe(name, [column.name for column in columns])
    notes = [description, DEVIATION, *bias_notes(measurements, name), *version_notes(measurements)]
    if close := [column.name for column in columns if _too_close(rows, column)]:
        notes.append(CLOSE.format(", ".join(close)))
    return Table(f"Ablations, {name}", columns, rows, HEAD, notes, name)


def _too_close(rows: list[Row], column: Column) -> bool:
    """Whether the best and the second best differ by less than seeds do."""
    values = [row.values[column.name] for row in rows if column.name in row.values]
    if len(values) < 2 or not column.better:
        return False
    first, second = sorted(values, key=lambda value: value.value, reverse=column.better == "higher")[:2]
    deviations = [value.deviation for value in (first, second)]
    return None in deviations or abs(first.value - second.value) <= float(np.linalg.norm(np.array(deviations, float)))


def _row(variant: str, of_seeds: list[Measurement], name: str) -> Row:
    measured = [metrics for measurement in of_seeds if (metrics := metrics_in(measurement, name))]
    kimg = {f"{m['kimg']:g}" for m in of_seeds if m["kimg"] is not None}
    seeds = str(len(measured)) if len(measured) == len(of_seeds) else f"{len(measured)} of {len(of_seeds)}"
    columns = dict.fromkeys(column for metrics in measured for column in metrics)
    values = {column: _mean([metrics[column] for metrics in measured if column in metrics]) for column in columns}
    title = "full model" if variant == FULL else variant.replace("-", " ")
    return Row((title, " / ".join(sorted(kimg)) or "–", seeds), values, run=bool(measured))


def _mean(metrics: list[Metric]) -> Value:
    numbers = [metric["value"] for metric in metrics]
    protocols = sorted({metric["protocol_id"] for metric in metrics})
    deviation = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
    # Several protocols in one cell make one that agrees with no other: the table refuses it.
    return Value(float(np.mean(numbers)), deviation, " + ".join(protocols))


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
    variants: dict[str, list[Measurement]] = {}
    for variant, file in args.measured:
        variants.setdefault(variant, []).extend(read_measurements([Path(file)]))
    write_tables(ablations(variants), args.output / "ablations")
    log.info("%d variants in %s", len(variants), args.output)


if __name__ == "__main__":
    console.run(main)
