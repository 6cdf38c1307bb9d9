"""The training's curves and previews."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.core.bounded import read_bytes
from ag3d.evaluation.report.figures import plain, plot
from ag3d.evaluation.report.media import picture_file
from ag3d.evaluation.report.page import Figure

Series = dict[str, tuple[list[float], list[float]]]  # name to x, y


def read_curves(path: Path) -> Series:
    """Numbers of metrics.jsonl over kimg. Lines that are cut off are skipped."""
    series: Series = {}
    for line in read_bytes(path).decode("utf-8", "replace").splitlines():
        try:
            flat = dict(_flatten(json.loads(line)))
        except (ValueError, RecursionError, OverflowError):
            continue
        x = flat.get("kimg", flat.get("images", flat.get("nimg", 0.0) / 1000))
        for name, value in flat.items():
            if name not in ("kimg", "images", "nimg", "step", "stage", "tick", "seconds") and math.isfinite(value):
                xs, ys = series.setdefault(name, ([], []))
                xs.append(x)
                ys.append(value)
    return series


def _flatten(entry: Any, prefix: str = "") -> list[tuple[str, float]]:
    flat: list[tuple[str, float]] = []
    for key, value in entry.items() if isinstance(entry, dict) else ():
        if isinstance(value, dict):
            flat += _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            flat.append((f"{prefix}{key}", float(value)))
    return flat


def curve_figures(series: Series) -> list[Figure]:
    """A plot for each group of curves that share a scale."""
    groups: dict[str, dict[str, str]] = {}
    for name in series:
        group, label = group_of(name)
        groups.setdefault(group, {})[label] = name
    return [Figure(_draw(group, names, series), narrow=True) for group, names in sorted(groups.items(), key=_order)]


def _order(item: tuple[str, dict[str, str]]) -> tuple[int, str]:
    """Losses first, then logits, then the rest."""
    group = item[0]
    kinds = ("loss of", "logit", "loss")
    return next((k for k, kind in enumerate(kinds) if group.startswith(kind)), len(kinds)), group


def group_of(name: str) -> tuple[str, str]:
    """The plot that a curve belongs to, and its label there."""
    parts = name.split("/")
    if parts[0] == "logit" and len(parts) == 3:
        return f"logit, {parts[2]}", parts[1]
    if name in ("loss/G", "loss/D"):
        return "loss of G and D", parts[1]
    return name.replace("/", ", "), ""


def _draw(group: str, names: dict[str, str], series: Series) -> str:
    with plot(3.6, 2.4) as figure:
        axes = figure.axes[0]
        for label, name in sorted(names.items()):
            x, y = (np.asarray(values) for values in series[name])
            axes.plot(x, y, linewidth=1.3, marker="o" if len(x) < 30 else "", markersize=2.5, label=plain(label))
        axes.set_title(plain(group.replace("_", " ")), loc="left")
        axes.set_xlabel("kimg")
        if len(names) > 1:
            axes.legend(fontsize=7.5)
    return figure.uri


def preview_figures(folder: Path, side: int = 900) -> list[Figure]:
    """The first and the last preview grid, and the data set's pictures in the same poses."""
    grids = sorted(path for path in folder.glob("*.png") if path.stem.isdigit())
    titled = zip(("First preview", "Last preview"), dict.fromkeys(grids[:1] + grids[-1:]), strict=False)
    figures = [
        Figure(picture_file(path, side), f"{name}, after {int(path.stem):,} images", pixelated=True)
        for name, path in titled
    ]
    reals = folder / "reals.png"
    if reals.exists():
        figures.append(Figure(picture_file(reals, side), "The data set in the same poses", pixelated=True))
    return figures
