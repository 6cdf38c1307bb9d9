"""Histograms of what the filters measure, with the limits of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ag3d.config import Config
from ag3d.evaluation.report.figures import COLORS, plot
from ag3d.evaluation.report.page import Figure
from ag3d.evaluation.results_reader import DatasetResults

ROW = 3  # histograms beside each other


class Filter(NamedTuple):
    """A measured value: how to read it, and the limit on it."""

    key: str  # of the configuration
    title: str
    values: Callable[[DatasetResults], np.ndarray]
    is_minimum: bool  # whether the limit is the least that passes, or the most


def filter_figures(data: DatasetResults, settings: Config) -> list[Figure]:
    """Figures of at most ROW histograms; values that no stage has measured are passed over."""
    measured = [(f, values, _limit(settings, f.key)) for f in FILTERS if len(values := _finite(f.values(data)))]
    return [Figure(_row(measured[k : k + ROW]), "") for k in range(0, len(measured), ROW)]


def _row(measured: list[tuple[Filter, np.ndarray, float]]) -> str:
    with plot(2.5 * ROW, 2.5, columns=ROW) as figure:
        for axes, (f, values, limit) in zip(figure.axes, measured, strict=False):
            low, high = min(values.min(), limit), max(values.max(), limit)
            bins = np.linspace(low, high + 1e-9 + 1e-3 * (high - low), 25).tolist()
            fails = values < limit if f.is_minimum else values > limit
            for group, color in ((~fails, COLORS[0]), (fails, COLORS[1])):
                axes.hist(values[group], bins=bins, color=color, alpha=0.85)
            axes.axvline(limit, color=COLORS[1], linewidth=1.5)
            axes.set_title(f"{f.title}\n{f.key} {limit:g}\n{int(fails.sum())} of {len(values)} beyond it", fontsize=8)
            axes.set_yscale("symlog", linthresh=10)
        for axes in figure.axes[len(measured) :]:
            axes.set_axis_off()
    return figure.uri


def _limit(settings: Config, key: str) -> float:
    section, name = key.split(".")
    return float(getattr(getattr(settings, section), name))


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _column(stage: str, name: str) -> Callable[[DatasetResults], np.ndarray]:
    def read(data: DatasetResults) -> np.ndarray:
        table = data.table(stage)
        return table[name].to_numpy(np.float64) if name in table else np.array([])

    return read


def _shorter_side(data: DatasetResults) -> np.ndarray:
    table = data.table("photos")
    return table[["width", "height"]].min(axis=1).to_numpy(np.float64) if "width" in table else np.array([])


def _box_height(data: DatasetResults) -> np.ndarray:
    table = data.table("people")
    boxes = [box for box in table["box"] if box is not None and len(box) == 4] if "box" in table else []
    return np.array([box[3] - box[1] for box in boxes], np.float64)


FILTERS = (
    Filter("photos.min_side", "shorter side (pixels)", _shorter_side, True),
    Filter("people.min_height", "person's height (pixels)", _box_height, True),
    Filter("matting.min_area", "matte's area (share)", _column("matting", "area"), True),
    Filter("matting.min_joints", "joints on the matte (share)", _column("matting", "joints"), True),
    Filter("fitting.max_reprojection", "landmark error (of height)", _column("fitting", "reprojection"), False),
    Filter("fitting.min_silhouette_iou", "silhouette overlap (IoU)", _column("fitting", "silhouette_iou"), True),
    Filter("fitting.max_out_of_frame", "body outside the picture", _column("fitting", "cut"), False),
    Filter("alignment.min_sharpness", "sharpness", _column("alignment", "sharpness"), True),
)
