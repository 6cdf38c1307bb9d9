"""Tables as csv, Markdown, LaTeX (booktabs), HTML, and JSON for programs that show them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

from ag3d.core.files import read_json, write_text
from ag3d.core.html import render_page
from ag3d.evaluation.results_reader import expecting
from ag3d.evaluation.tables.comparison import Cell, Column, Row, Table, Value

_LATEX = {
    "\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "°": r"$^\circ$",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$", "×": r"$\times$", "<": "$<$", ">": "$>$", "|": "$|$",
}  # fmt: skip


def write_tables(tables: list[Table], stem: Path) -> None:
    """In all formats, to files of that name."""
    for suffix, render in FORMATS.items():
        write_text(stem.with_name(f"{stem.name}.{suffix}"), render(tables))


def to_csv(tables: list[Table]) -> str:
    """All tables, one value a line with its protocol, so that nothing is compared by accident."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "kimg", "count", "measure", "value", "deviation", "better", "protocol", "source"])
    for table in tables:
        for row in table.rows:
            head = [table.name or table.title, *("" if cell == "–" else cell for cell in row.cells)]
            head += [""] * (4 - len(head))
            for column in table.columns:
                value = row.values.get(column.name)
                numbers = ["" if row.run else row.absent, ""]
                if value is not None:
                    numbers = [f"{value.value:.6g}", "" if value.deviation is None else f"{value.deviation:.6g}"]
                protocol = "" if value is None else value.protocol
                words = [*head, column.name, *numbers, column.better, protocol, row.source]
                writer.writerow([_csv_cell(word) for word in words])
    return out.getvalue()


def to_markdown(tables: list[Table]) -> str:
    parts = []
    for table in tables:
        head = [*table.head, *(f"{column.name}{column.arrow}" for column in table.columns)]
        lines = [f"**{_markdown(table.title)}**", "", "| " + " | ".join(map(_markdown, head)) + " |"]
        lines.append("|" + " --- |" * len(head))
        for row in table.rows:
            lines.append("| " + " | ".join(map(_markdown_cell, table.cells(row))) + " |")
        lines += ["", *(f"{_markdown(note)}  " for note in table.caption())]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_latex(tables: list[Table]) -> str:
    """booktabs; needs \\usepackage{booktabs,graphicx}. A table wider than the text is made smaller."""
    parts = []
    for table in tables:
        head = [_latex(name) for name in (*table.head, *(f"{c.name}{c.arrow}" for c in table.columns))]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(table.title)}. {_latex(' '.join(table.caption()))}}}",
            r"\smallskip",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}{'l' * len(table.columns)}}}",
            r"\toprule",
            " & ".join(head) + r" \\",
            r"\midrule",
            *(" & ".join(map(_latex_cell, table.cells(row))) + r" \\" for row in table.rows),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_html(tables: list[Table]) -> str:
    """A page that opens by itself."""
    return render_page(Path(__file__).with_name("page.html"), tables=tables)


def to_json(tables: list[Table]) -> str:
    """Everything in the tables, for `read_tables`."""
    return json.dumps([dataclasses.asdict(table) for table in tables], ensure_ascii=False, indent=1) + "\n"


def read_tables(path: Path) -> list[Table]:
    """The tables of a .json file of these."""
    with expecting(path, "a file of tables"):
        tables = []
        for fields in read_json(path):
            columns = [Column(**column) for column in fields["columns"]]
            rows = []
            for row in fields["rows"]:
                values = {name: Value(**value) for name, value in row["values"].items()}
                rows.append(Row(**{**row, "cells": tuple(row["cells"]), "values": values}))
            tables.append(Table(**{**fields, "columns": columns, "rows": rows, "head": tuple(fields["head"])}))
        to_markdown(tables)  # what cannot be shown is no table
    return tables


FORMATS: dict[str, Callable[[list[Table]], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
    "json": to_json,
}


def _csv_cell(text: str) -> str:
    """A spreadsheet takes what begins so for a formula, but for numbers."""
    return (
        f"'{text}"
        if text.startswith(("=", "+", "-", "@")) and not re.fullmatch(r"[-+]?[\d.]+(e[-+]\d+)?", text)
        else text
    )


def _markdown(text: str) -> str:
    """Escaped: neither markup nor HTML."""
    return re.sub(r"[\\`*\[\]|]", r"\\\g<0>", text).replace("<", "&lt;")


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    return (f"**{text}**" if cell.best else text) + cell.plus_minus


def _latex_cell(cell: Cell) -> str:
    text = _latex(cell.text)
    return (rf"\textbf{{{text}}}" if cell.best else text) + _latex(cell.plus_minus)


def _latex(text: str) -> str:
    """Escaped; addresses may break after a slash, a hyphen or an underscore."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    escaped = re.sub(r"\B'(\w[^']*)'\B", r"`\1'", escaped)
    return re.sub(r"https?://\S+", lambda url: re.sub(r"[/_-]", r"\g<0>\\allowbreak{}", url.group()), escaped)
