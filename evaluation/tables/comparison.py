"""Rows of measurements, sorted into tables whose columns hold one protocol each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ag3d.core.errors import UserError
from ag3d.evaluation.tables.descriptions import column_order, describe, describe_deviation, table_order
from ag3d.evaluation.tables.measurements import Measurement, Metric

NOT_RUN = "not run"


@dataclass(frozen=True)
class Column:
    """A measure; `better` is lower, higher or empty."""

    name: str
    better: str = "lower"

    @property
    def arrow(self) -> str:
        return {"lower": " ↓", "higher": " ↑"}.get(self.better, "")


@dataclass(frozen=True)
class Value:
    """A measured number under a protocol; `deviation` is None where none is known."""

    value: float
    deviation: float | None = None
    protocol: str = ""
    written: str = ""  # a quoted number with the digits that it was published with

    @property
    def number(self) -> str:
        return self.written or f"{self.value:{self._format}}"

    @property
    def plus_minus(self) -> str:
        """Deviation behind the number; empty where none is known."""
        return "" if self.written or self.deviation is None else f" ± {self.deviation:{self._format}}"

    @property
    def _format(self) -> str:
        size = abs(self.value)
        if 0 < size < 1e-4:
            return ".1e"
        return f".{2 if size >= 10 else 3 if size >= 0.1 or not size else 2 - int(np.floor(np.log10(size)))}f"


class Cell(NamedTuple):
    """What stands in a cell: text or a number, what stands behind it, and whether the number is the column's best."""

    text: str
    plus_minus: str = ""
    best: bool = False


@dataclass
class Row:
    """A run at a milestone, a variant over seeds, or a method of the literature."""

    cells: tuple[str, ...]  # under the table's head
    values: dict[str, Value] = field(default_factory=dict)  # by the columns' names
    source: str = ""  # publication of a quoted row
    run: bool = True
    absent: str = NOT_RUN  # what stands in the cells of a row that was not
    competes: bool = True  # for the best of a column


@dataclass
class Table:
    """Raises UserError when a column mixes protocols."""

    title: str
    columns: list[Column]  # of the values
    rows: list[Row]
    head: tuple[str, ...] = ("run", "kimg", "images")  # of the rows' cells
    notes: list[str] = field(default_factory=list)
    name: str = ""

    def __post_init__(self) -> None:
        for column in self.columns:
            protocols = sorted({row.values[column.name].protocol for row in self.rows if column.name in row.values})
            if len(protocols) > 1:
                raise UserError(
                    f"table '{self.title}', column '{column.name}': values of different protocols ({', '.join(protocols)}) cannot "
                    "stand in one column; measure the runs with equal settings and data, or make separate tables"
                )

    @property
    def protocols(self) -> dict[str, str]:
        """Column to protocol."""
        return {name: value.protocol for row in self.rows for name, value in row.values.items()}

    def best(self, column: Column) -> float | None:
        """The best value of the column, where there are two different ones to compare."""
        values = [row.values[column.name].value for row in self.rows if column.name in row.values and row.competes]
        if len(set(values)) < 2 or not column.better:
            return None
        return min(values) if column.better == "lower" else max(values)

    def cells(self, row: Row) -> list[Cell]:
        """The row as every format writes it."""
        return [*map(Cell, row.cells), *(self._cell(row, column) for column in self.columns)]

    def _cell(self, row: Row, column: Column) -> Cell:
        value = row.values.get(column.name)
        if value is None:
            return Cell("–" if row.run else row.absent)
        return Cell(value.number, value.plus_minus, row.competes and value.value == self.best(column))

    def caption(self) -> list[str]:
        """What the numbers are, in sentences."""
        lines = [note for note in self.notes if note]
        if self.protocols:
            columns: dict[str, list[str]] = {}
            for column, protocol in self.protocols.items():
                columns.setdefault(protocol, []).append(column)
            lines.append(
                "Protocols: " + "; ".join(f"{id_} ({', '.join(names)})" for id_, names in columns.items()) + "."
            )
        for text, run in (("Quoted, not measured here", True), ("Publications to enter values from", False)):
            methods: dict[str, list[str]] = {}
            for row in self.rows:
                if row.source and row.run == run:
                    methods.setdefault(row.source, []).append(row.cells[0])
            if methods:
                sources = (f"{', '.join(names)}: {source}" for source, names in methods.items())
                lines.append(f"{text}: {'; '.join(sources)}.")
        return lines


def metrics_in(measurement: Measurement, table: str) -> dict[str, Metric]:
    """Column to metric of what stands in the table of that name."""
    metrics = (metric for metric in measurement["metrics"].values() if metric["table"] == table and metric["main"])
    return {metric["column"]: metric for metric in metrics}


def table_names(measurements: list[Measurement]) -> list[str]:
    """Names of all tables, in their order."""
    metrics = (metric for measurement in measurements for metric in measurement["metrics"].values())
    return sorted({metric["table"] for metric in metrics if metric["main"]}, key=table_order)


def comparison(measurements: list[Measurement]) -> list[Table]:
    """A table for each family of metrics and each protocol found; who was not measured is in a family's first."""
    tables = []
    for name in table_names(measurements):
        groups = _by_protocol([m for m in measurements if metrics_in(m, name)], name)
        for number, group in enumerate(groups):
            not_measured = [m for m in measurements if not metrics_in(m, name)] if number == 0 else []
            tables.append(_table(name, group, not_measured))
    if not tables and measurements:
        notes = [note for m in measurements for note in m.get("notes", [])]
        tables.append(Table(NOT_RUN, [Column("value", "")], [_row(m, {}) for m in measurements], notes=notes))
    return tables


def columns_of(measurements: list[Measurement], name: str) -> list[Column]:
    """Of the table of that name, in their order."""
    better = {c: metric["better"] for m in measurements for c, metric in metrics_in(m, name).items()}
    return [Column(column, better[column]) for column in sorted(better, key=column_order)]


def title_of(name: str, measurement: Measurement) -> str:
    """The family, and on how many people it was measured."""
    protocol_id = next(iter(metrics_in(measurement, name).values()))["protocol_id"]
    conditions = measurement["protocols"][protocol_id]
    return f"{name}: {conditions.get('samples', conditions.get('people', '?'))} generated people"


def _table(name: str, group: list[Measurement], not_measured: list[Measurement]) -> Table:
    rows = [_row(measurement, metrics_in(measurement, name)) for measurement in [*group, *not_measured]]
    rows.sort(key=lambda row: (row.cells[0], float(row.cells[1]) if row.cells[1] != "–" else 0))
    rows += _floor_rows(group[-1], name)
    columns = columns_of(group, name)
    people = "'images' is generated / data set." if name != "geometry" else ""
    sentences = (describe(name, [column.name for column in columns]), people, describe_deviation(name))
    notes = [" ".join(filter(None, sentences)), *bias_notes(group, name), *version_notes(group)]
    return Table(title_of(name, group[0]), columns, rows, notes=notes, name=name)


def _row(measurement: Measurement, metrics: dict[str, Metric]) -> Row:
    kimg = "–" if measurement["kimg"] is None else f"{measurement['kimg']:g}"
    values = {c: Value(m["value"], m.get("deviation"), m["protocol_id"]) for c, m in metrics.items()}
    return Row((measurement["run"], kimg, _image_counts(metrics)), values, run=bool(metrics))


def _image_counts(metrics: dict[str, Metric]) -> str:
    if not metrics:
        return "–"
    largest = max(metrics.values(), key=lambda metric: metric["fakes"])
    return f"{largest['fakes']} / {largest['reals']}" if largest["reals"] else str(largest["fakes"])


def _floor_rows(measurement: Measurement, name: str) -> list[Row]:
    """What the data set scores: a value near this cannot be told from perfect."""
    metrics = metrics_in(measurement, name)
    values = {c: Value(m["floor"], None, m["protocol_id"]) for c, m in metrics.items() if m.get("floor") is not None}
    if not values:
        return []
    reals = max(metric["reals"] for metric in metrics.values())
    cells = ("data set, half against half", "–", f"{reals // 2} / {reals // 2}") if reals else ("data set", "–", "–")
    return [Row(cells, values, competes=False)]


def bias_notes(measurements: list[Measurement], name: str) -> list[str]:
    """A warning where images are fewer than dimensions, and by how much that raises the values."""
    biases: dict[str, list[float]] = {}
    counts = []
    for measurement in measurements:
        for column, metric in metrics_in(measurement, name).items():
            images = min(metric["fakes"], metric["reals"])
            if metric.get("bias") is not None and images <= metric["dimensions"]:
                counts.append(images)
                biases.setdefault(column, []).append(max(0.0, metric["bias"]))  # below 0: lost in the noise
    if not counts:
        return []
    amounts = "; ".join(f"{column} {_span(biases[column])}" for column in sorted(biases, key=column_order))
    return [
        f"With {min(counts)} images, not more than the features have dimensions, the distances are too large, by about "
        f"{amounts} (bootstrap)."
    ]


def version_notes(measurements: list[Measurement]) -> list[str]:
    """A warning where different versions of the program measured: it may have drawn the same people a little otherwise."""
    versions = sorted({version for m in measurements if (version := m.get("versions", {}).get("ag3d"))})
    return [f"Measured with different versions of the program: {', '.join(versions)}."] if len(versions) > 1 else []


def _span(values: list[float]) -> str:
    ends = list(dict.fromkeys(f"{value:.2g}" for value in (min(values), max(values))))
    return " to ".join(ends)


def _by_protocol(measurements: list[Measurement], name: str) -> list[list[Measurement]]:
    """Groups whose common columns agree in their protocols."""
    groups: list[list[Measurement]] = []
    for measurement in measurements:
        own = {column: metric["protocol_id"] for column, metric in metrics_in(measurement, name).items()}
        for group in groups:
            theirs = {c: metric["protocol_id"] for m in group for c, metric in metrics_in(m, name).items()}
            common = own.keys() & theirs.keys()
            if common and all(own[column] == theirs[column] for column in common):
                group.append(measurement)
                break
        else:
            groups.append([measurement])
    return groups
