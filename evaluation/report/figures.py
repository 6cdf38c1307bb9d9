"""Plots as SVG that reads on light and dark pages."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ag3d.core.errors import printable
from ag3d.evaluation.report.media import data_uri

GREY = "#858b94"  # readable on white and on black
COLORS = ("#3b82c4", "#e0703a", "#3fa37a", "#b45fb0", "#c9a227", "#7a8694")
_STYLE: Any = {
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlecolor": GREY,
    "axes.titlesize": 9.5,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.2,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "axes.prop_cycle": cycler(color=COLORS),
    "svg.hashsalt": "ag3d",
}


def plain(name: str) -> str:
    """A name that a file brought, as text for a plot: what stands between dollar signs would be a formula."""
    return printable(name).replace("$", r"\$")


class Plot:
    """A figure under construction; `uri` holds it once the `with` block ends."""

    def __init__(self, figure: Figure, axes: list[Axes]) -> None:
        self.figure = figure
        self.axes = axes
        self.uri = ""


@contextmanager
def plot(width: float, height: float, columns: int = 1, polar: bool = False) -> Iterator[Plot]:
    """Axes side by side, `width` × `height` inches in all."""
    with plt.rc_context(_STYLE):
        keywords = {"projection": "polar"} if polar else {}
        figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False, subplot_kw=keywords)
        drawing = Plot(figure, list(axes[0]))
        try:
            yield drawing
            figure.tight_layout()
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
            drawing.uri = data_uri(buffer.getvalue(), "image/svg+xml")
        finally:
            plt.close(figure)
