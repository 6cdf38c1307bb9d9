"""Rows of measurements, sorted into tables whose columns hold one protocol each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config.results import RENAMED_METRICS
from ag3d.core.errors import UserError
from ag3d.core.files import read_json
from ag3d.evaluation.tables.descriptions import column_order, describe, spread, table_order

NOT_RUN = "not run"
KEYS = ("run", "kimg", "metrics", "protocols")  # of a file of measurements


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

    def text(self, bold: str = "{}") -> str:
        if self.written:
            return bold.format(self.written)
        size = abs(self.value)
        if 0 < size < 1e-4:
            return bold.format(f"{self.value:.1e}") + (f" ± {self.deviation:.1e}" if self.deviation is not None else "")
        decimals = 2 if size >= 10 else 3 if size >= 0.1 or not size else 2 - int(np.floor(np.log10(size)))
        spread = f" ± {self.deviation:.{decimals}f}" if self.deviation is not None else ""
        return bold.format(f"{self.value:.{decimals}f}") + spread


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
            found = sorted({row.values[column.name].protocol for row in self.rows if column.name in row.values})
            if len(found) > 1:
                raise UserError(
                    f"table '{self.title}', column '{column.name}': values of different protocols ({', '.join(found)}) cannot "
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


def read_measurements(paths: list[Path]) -> list[dict[str, Any]]:
    """The JSON files of ag3d.evaluation.metrics; for a file that is not there, what its name tells."""
    found = []
    for path in paths:
        if path.exists():
            content = read_json(path)
            for key in KEYS:
                if key not in content:
                    raise UserError(f"{path} is not a file of measurements: '{key}' is missing; measure the run again")
            found.append({**content, "metrics": _current_names(content["metrics"])})
        else:
            found.append({"run": path.parent.parent.name, "kimg": _number(path.stem), "metrics": {}})
    return found


def _current_names(metrics: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Metrics of a file of any version under the names that they have today."""

    def current(name: str) -> str:
        for old, new in RENAMED_METRICS.items():
            if name == old or name.startswith(f"{old}_"):
                return new + name.removeprefix(old).removeprefix("_pck")
        return name

    return {current(name): {**metric, "table": current(metric["table"])} for name, metric in metrics.items()}


def entries(measured: dict[str, Any], table: str) -> dict[str, dict[str, Any]]:
    """Column to metric of what stands in the table of that name."""
    chosen = (m for m in measured["metrics"].values() if m["table"] == table and m["main"])
    return {metric["column"]: metric for metric in chosen}


def table_names(measurements: list[dict[str, Any]]) -> list[str]:
    """Names of all tables, in their order."""
    found = {m["table"] for measured in measurements for m in measured["metrics"].values() if m["main"]}
    return sorted(found, key=table_order)


def comparison(measurements: list[dict[str, Any]]) -> list[Table]:
    """A table for each family of metrics and each protocol found; who was not measured is in a family's first."""
    tables = []
    for name in table_names(measurements):
        groups = _by_protocol([m for m in measurements if entries(m, name)], name)
        for number, members in enumerate(groups):
            others = [m for m in measurements if not entries(m, name)] if number == 0 else []
            tables.append(_table(name, members, others))
    if not tables and measurements:
        tables.append(Table(NOT_RUN, [Column("value", "")], [_row(m, {}) for m in measurements]))
    return tables


def columns_of(members: list[dict[str, Any]], name: str) -> list[Column]:
    found = {c: metric["better"] for measured in members for c, metric in entries(measured, name).items()}
    return [Column(column, found[column]) for column in sorted(found, key=column_order)]


def title_of(name: str, members: list[dict[str, Any]]) -> str:
    """The family, and on how many people it was measured."""
    measured = members[0]
    details = measured["protocols"][next(iter(entries(measured, name).values()))["protocol_id"]]
    return f"{name}: {details.get('samples', details.get('people', '?'))} generated people"


def _table(name: str, members: list[dict[str, Any]], others: list[dict[str, Any]]) -> Table:
    rows = [_row(measured, entries(measured, name)) for measured in [*members, *others]]
    rows.sort(key=lambda row: (row.cells[0], float(row.cells[1]) if row.cells[1] != "–" else 0))
    rows += _floor(members[-1], name)
    columns = columns_of(members, name)
    people = "'images' is generated / data set." if name != "geometry" else ""
    words = (describe(name, [column.name for column in columns]), people, spread(name))
    notes = [" ".join(filter(None, words)), *few(members, name), *several_versions(members)]
    return Table(title_of(name, members), columns, rows, notes=notes, name=name)


def _row(measured: dict[str, Any], found: dict[str, dict[str, Any]]) -> Row:
    kimg = "–" if measured["kimg"] is None else f"{measured['kimg']:g}"
    return Row(
        (measured["run"], kimg, _images(found)), {c: value_of(metric) for c, metric in found.items()}, run=bool(found)
    )


def value_of(metric: dict[str, Any]) -> Value:
    return Value(metric["value"], metric.get("deviation"), metric["protocol_id"])


def _images(found: dict[str, dict[str, Any]]) -> str:
    if not found:
        return "–"
    most = max(found.values(), key=lambda metric: metric["fakes"])
    return f"{most['fakes']} / {most['reals']}" if most["reals"] else str(most["fakes"])


def _floor(measured: dict[str, Any], name: str) -> list[Row]:
    """What the data set scores: a value near this cannot be told from perfect."""
    found = entries(measured, name)
    values = {c: Value(m["floor"], None, m["protocol_id"]) for c, m in found.items() if m.get("floor") is not None}
    if not values:
        return []
    reals = max(metric["reals"] for metric in found.values())
    cells = ("data set, half against half", "–", f"{reals // 2} / {reals // 2}") if reals else ("data set", "–", "–")
    return [Row(cells, values, competes=False)]


def few(members: list[dict[str, Any]], name: str) -> list[str]:
    """A warning where images are fewer than dimensions, and by how much that raises the values."""
    found = [(column, m) for measured in members for column, m in entries(measured, name).items() if "bias" in m]
    scarce = [(column, m) for column, m in found if min(m["fakes"], m["reals"]) <= m["dimensions"]]
    if not scarce:
        return []
    low = min(min(m["fakes"], m["reals"]) for _, m in scarce)
    biases: dict[str, list[float]] = {}
    for column, m in scarce:
        biases.setdefault(column, []).append(max(0.0, m["bias"]))  # below 0: lost in the noise
    amounts = "; ".join(f"{column} {_span(biases[column])}" for column in sorted(biases, key=column_order))
    return [
        f"With {low} images, not more than the features have dimensions, the distances are too large, by about {amounts} "
        "(bootstrap)."
    ]


def several_versions(members: list[dict[str, Any]]) -> list[str]:
    """A warning where different versions of the program measured: it may have drawn the same people a little otherwise."""
    found = sorted({version for m in members if (version := m.get("versions", {}).get("ag3d"))})
    return [f"Measured with different versions of the program: {', '.join(found)}."] if len(found) > 1 else []


def _span(values: list[float]) -> str:
    ends = list(dict.fromkeys(f"{value:.2g}" for value in (min(values), max(values))))
    return " to ".join(ends)


def _by_protocol(measurements: list[dict[str, Any]], name: str) -> list[list[dict[str, Any]]]:
    """Groups whose common columns agree in their protocols."""
    groups: list[list[dict[str, Any]]] = []
    for measured in measurements:
        mine = {column: metric["protocol_id"] for column, metric in entries(measured, name).items()}
        for group in groups:
            theirs = {c: m["protocol_id"] for member in group for c, m in entries(member, name).items()}
            if mine.keys() & theirs.keys() and all(mine[c] == theirs[c] for c in mine.keys() & theirs.keys()):
                group.append(measured)
                break
        else:
            groups.append([measured])
    return groups


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
