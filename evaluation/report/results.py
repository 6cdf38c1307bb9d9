"""The report's parts about a run: training, avatars, measurements, times, versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ag3d.core import provenance
from ag3d.evaluation.report.media import picture_file, video_file
from ag3d.evaluation.report.page import Card, Figure, Grid, Page
from ag3d.evaluation.report.timing import duration, rule_times, time_bars
from ag3d.evaluation.report.training import curve_figures, preview_figures, read_curves
from ag3d.evaluation.tables.formats import read_tables
from ag3d.evaluation.tables.measurements import read_measurements

PICTURES = {
    "samples.png": "Generated people, in poses of the data set: image, normals, volume rendering, depth.",
    "canonical.png": "The same people in the canonical pose.",
    "interpolation.png": "From one person to another.",
}
MESHES = {"meshes.png": "Meshes: with their textures, front and back without, posed."}
DETAILS = {
    "normals.png": "Normals, posed and canonical: red to the right, green up, blue to the viewer.",
    "raw.png": "The volume rendering, before super-resolution.",
    "depth.png": "Depth.",
}
VIDEOS = {
    "novel_view.mp4": "Novel views.",
    "turn.mp4": "A whole turn.",
    "animation.mp4": "A walk.",
    "interpolation.mp4": "From person to person.",
}


def add_run(page: Page, run: Path) -> None:
    """Training and avatars of results/<run>."""
    page.previews = preview_figures(run / "training" / "previews")
    curves = run / "training" / "metrics.jsonl"
    if curves.exists():
        page.curves = curve_figures(read_curves(curves))
    folder = run / "avatars"
    page.avatars = [Figure(picture_file(path, 1400), text, pixelated=True) for path, text in present(folder, PICTURES)]
    page.avatars += [Figure(picture_file(path, 1400), text) for path, text in present(run / "export", MESHES)]
    page.viewer = "viewer.html" if (run / "viewer.html").exists() else ""
    page.details = [Figure(picture_file(path, 1000), text, pixelated=True) for path, text in present(folder, DETAILS)]
    page.videos = [Figure(video_file(path), text, video=True) for path, text in present(folder, VIDEOS)]


def present(folder: Path, captions: dict[str, str]) -> list[tuple[Path, str]]:
    """The files that are there, with their captions."""
    return [(folder / name, text) for name, text in captions.items() if (folder / name).exists()]


def add_measurements(page: Page, run: Path, milestones: list[str]) -> None:
    """Tables, and all values with their intervals."""
    tables = (run / "tables" / f"{name}.json" for name in ("comparison", "ablations"))
    page.tables = [table for path in tables if path.exists() for table in read_tables(path)]
    files = (run / "metrics" / f"{name}.json" for name in milestones)
    measurements = read_measurements([path for path in files if path.exists()])
    rows = [
        [f"{measurement['kimg']:g}", name, *_numbers(metric)]
        for measurement in measurements
        for name, metric in measurement["metrics"].items()
    ]
    if rows:
        page.metrics = Grid(
            ["kimg", "metric", "value", "±", "95 % interval", "bias", "floor", "people"],
            rows,
            "bias: by how much few images raise the value (bootstrap; the interval has it taken off). "
            "floor: what the data set scores, for distances one half of it against the other. people: generated / photographs.",
        )
    pictures = [path for name in milestones if (path := run / "metrics" / f"{name}.neighbours.png").exists()]
    if pictures:
        text = "Generated people, and beside each the training images that are nearest in the features."
        page.neighbours = Figure(picture_file(pictures[-1], 1400), text)
    last = measurements[-1]["metrics"].get("frechet_embedded_image") if measurements else None
    if last:
        page.cards.append(
            Card(f"{last['value']:.3f}", "Fréchet distance, image", "embedded features, not FID; lower is better")
        )


def _numbers(metric: dict[str, Any]) -> list[str]:
    """Value, deviation, interval, bias, floor and counts of a metric as text."""

    def text(key: str) -> str:
        return "–" if metric.get(key) is None else f"{metric[key]:.3g}"

    interval = "–" if metric.get("low") is None else f"{text('low')} … {text('high')}"
    people = f"{metric['fakes']} / {metric['reals']}" if metric["reals"] else str(metric["fakes"])
    return [f"{metric['value']:.4g}", text("deviation"), interval, text("bias"), text("floor"), people]


def add_times(page: Page, folders: list[Path]) -> None:
    """Times of all rules whose benchmarks lie in the folders of results."""
    rules = rule_times(folders)
    if not rules:
        return
    total = sum(rule.seconds for rule in rules)
    page.timing = Figure(time_bars(rules), f"All jobs together: {duration(total)} (jobs may run side by side).")
    page.times = Grid(
        ["rule", "jobs", "time, all jobs", "longest job", "memory"],
        [
            [rule.name, str(rule.jobs), duration(rule.seconds), duration(rule.longest), rule.memory_text]
            for rule in rules
        ],
    )
    page.cards.append(Card(duration(total), "computing time", "sum over all jobs"))


def add_origin(page: Page, configuration: dict[str, Any]) -> None:
    """Versions and configuration."""
    page.versions = Grid(["package", "version"], [[name, version] for name, version in provenance.versions().items()])
    page.configuration = yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True) if configuration else ""
