"""Tables as csv, Markdown, LaTeX (booktabs) and HTML."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable

from ag3d.evaluation.tables.comparison import Column, Row, Table

_LATEX = {
    **{"\\": r"\textbackslash{}", "_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "°": r"$^\circ$"},
    **{"↓": r"$\downarrow$", "↑": r"$\uparrow$", "×": r"$\times$", "<": "$<$", ">": "$>$", "|": "$|$"},
}


def to_csv(tables: list[Table]) -> str:
    """All tables, one value a line with its protocol, so that nothing is compared by accident."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "row", "kimg", "count", "measure", "value", "deviation", "better", "protocol", "source"])
    for table in tables:
        for row in table.rows:
            first = [table.name or table.title, *("" if cell == "–" else cell for cell in row.cells)]
            first += [""] * (4 - len(first))
            for column in table.columns:
                value = row.values.get(column.name)
                numbers = ["" if row.run else row.absent, ""]
                if value is not None:
                    numbers = [f"{value.value:.6g}", "" if value.deviation is None else f"{value.deviation:.6g}"]
                protocol = "" if value is None else value.protocol
                writer.writerow([*first, column.name, *numbers, column.better, protocol, row.source])
    return out.getvalue()


def to_markdown(tables: list[Table]) -> str:
    parts = []
    for table in tables:
        head = [*table.head, *(f"{column.name}{column.arrow}" for column in table.columns)]
        lines = [f"**{table.title}**", "", "| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
        lines += ["| " + " | ".join(_cells(table, row, "**{}**")) + " |" for row in table.rows]
        lines += ["", *(f"{note}  " for note in caption(table))]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_latex(tables: list[Table]) -> str:
    """booktabs; needs \\usepackage{booktabs,graphicx}. A table wider than the text is made smaller."""
    parts = []
    for table in tables:
        head = [_latex(cell) for cell in (*table.head, *(f"{c.name}{c.arrow}" for c in table.columns))]
        rows = [_latex_row(table, row) for row in table.rows]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_latex(table.title)}. {_latex(' '.join(caption(table)))}}}",
                    r"\smallskip",
                    r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
                    rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}{'l' * len(table.columns)}}}",
                    r"\toprule",
                    " & ".join(head) + r" \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def to_html(tables: list[Table]) -> str:
    """A fragment: figures with a table and its caption."""
    parts = []
    for table in tables:
        names = (*table.head, *(f"{c.name}{c.arrow}" for c in table.columns))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
        body = ""
        for row in table.rows:
            cells = (_html(cell) for cell in _cells(table, row, "<b>{}</b>"))
            kind = "" if row.competes and row.run else ' class="aside"'
            body += f"<tr{kind}>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>\n"
        notes = "<br>".join(html.escape(note) for note in caption(table))
        parts.append(
            f'<figure class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n'
            f"<figcaption><b>{html.escape(table.title)}</b><br>{notes}</figcaption></figure>"
        )
    return "\n".join(parts) + "\n"


def to_page(tables: list[Table]) -> str:
    """The same as a page that opens by itself."""
    style = "".join(
        (
            "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:CanvasText;background:Canvas}",
            "figure{margin:0 0 2.5rem}table{border-collapse:collapse}th,td{padding:.25rem .9rem .25rem 0;text-align:left;white-space:nowrap}",
            "thead th{border-top:2px solid;border-bottom:1px solid}tbody tr:last-child td{border-bottom:2px solid}",
            ".aside{opacity:.65}figcaption{margin-top:.6rem;max-width:60rem;font-size:.85em;opacity:.8}",
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        f"<title>Tables</title><style>{style}</style></head>\n<body>\n{to_html(tables)}</body>\n</html>\n"
    )


def fragment(page: str) -> str:
    """What `to_html` gave, from the page."""
    return page.partition("<body>\n")[2].partition("</body>")[0]


def caption(table: Table) -> list[str]:
    """What the table's numbers are, in sentences."""
    lines = [note for note in table.notes if note]
    if table.protocols:
        grouped: dict[str, list[str]] = {}
        for column, protocol in table.protocols.items():
            grouped.setdefault(protocol, []).append(column)
        lines.append("Protocols: " + "; ".join(f"{id_} ({', '.join(names)})" for id_, names in grouped.items()) + ".")
    for text, run in (("Quoted, not measured here", True), ("Publications to enter values from", False)):
        sources: dict[str, list[str]] = {}
        for row in table.rows:
            if row.source and row.run == run:
                sources.setdefault(row.source, []).append(row.cells[0])
        if sources:
            named = (f"{', '.join(rows)}: {source}" for source, rows in sources.items())
            lines.append(f"{text}: {'; '.join(named)}.")
    return lines


FORMATS: dict[str, Callable[[list[Table]], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
    "html": to_page,
}


def _cells(table: Table, row: Row, bold: str) -> list[str]:
    return [*row.cells, *(_cell(table, row, column, bold) for column in table.columns)]


def _cell(table: Table, row: Row, column: Column, bold: str) -> str:
    value = row.values.get(column.name)
    if value is None:
        return "–" if row.run else row.absent
    best = row.competes and value.value == table.best(column)
    return value.text(bold if best else "{}")


def _latex_row(table: Table, row: Row) -> str:
    # Marks of bold that escaping leaves alone.
    cells = (_latex(cell) for cell in _cells(table, row, "\x01{}\x02"))
    return " & ".join(cells).replace("\x01", r"\textbf{").replace("\x02", "}") + r" \\"


def _latex(text: str) -> str:
    """Escaped; addresses may break after a slash, a hyphen or an underscore."""
    escaped = "".join(_LATEX.get(letter, letter) for letter in text)
    escaped = re.sub(r"\B'(\w[^']*)'\B", r"`\1'", escaped)
    return re.sub(r"https?://\S+", lambda found: re.sub(r"[/_-]", r"\g<0>\\allowbreak{}", found.group()), escaped)


def _html(cell: str) -> str:
    return cell if cell.startswith("<b>") else html.escape(cell)
