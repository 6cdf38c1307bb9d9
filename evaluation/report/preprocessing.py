"""The report's parts about the data set: stages, people left out, accuracy, poses."""

from __future__ import annotations

from typing import Any

from ag3d.config import Config
from ag3d.core import console
from ag3d.core.files import read_json
from ag3d.evaluation.report.filters import filter_figures
from ag3d.evaluation.report.media import jpeg, png
from ag3d.evaluation.report.page import Grid, Page, Picture, Stage
from ag3d.evaluation.report.poses import pose_figures
from ag3d.evaluation.report.sheets import SIDE, Sheets, Tile, reason, striped
from ag3d.evaluation.results_reader import DatasetResults, expecting
from ag3d.model.avatars.identities import read_poses
from ag3d.model.body.body import Body

STAGES = {
    "photos": ("Photographs", "Read upright, in sRGB, and listed."),
    "people": (
        "People",
        "The main person's box and 33 landmarks: the subject's left is blue, the right orange; faint where hidden.",
    ),
    "matting": ("Mattes", "The person cut out, over a plain colour."),
    "fitting": ("Fits", "The body fitted to landmarks and matte, coloured by its normals, over the photograph."),
    "alignment": ("Aligned crops", "Square crops in the network's frame; the line is the outline of the label's body."),
    "normals": ("Normals", "Red: to the right; green: up; blue: to the viewer."),
}
MAX_LISTED = 200  # rejected photographs that are listed
MAX_PICTURES = 36


def add_preprocessing(
    page: Page, data: DatasetResults, body: Body, settings: Config, people: int = 16, rejected: int = 8
) -> None:
    """Fill the page's parts about the data set in."""
    sheets = Sheets(data, body)
    accuracy = read_accuracy(data)
    for name, (title, text) in console.progress(STAGES.items(), "contact sheets", total=len(STAGES), unit="stage"):
        pictures = [picture(tile) for tile in sheets.sheet(name, people, rejected)]
        page.stages.append(Stage(name, title, text, pass_count(data, name), pictures, accuracy.get(name)))
    page.journey_heads = [title for title, _ in STAGES.values()]
    page.journey = [[None if t is None else picture(t) for t in row] for _, row in sheets.journey(6)]
    page.dataset = [(Picture(small(a)), Picture(small(b))) for a, b in sheets.dataset(40)]
    add_rejected(page, data, sheets)
    page.filters = filter_figures(data, settings)
    poses = data.root / "poses.npy"
    if poses.exists():
        page.poses = pose_figures(read_poses(poses).numpy(), body)


def add_rejected(page: Page, data: DatasetResults, sheets: Sheets) -> None:
    """Everybody left out: counts, pictures, list."""
    table = data.rejected()
    if not len(table):
        return
    counts = table.groupby(["stage", "reason"]).size().sort_values(ascending=False)
    page.rejected_counts = Grid(
        ["stage", "reason", "photographs"], [[stage, why, str(n)] for (stage, why), n in counts.items()]
    )
    rows = table.to_dict("records")
    for row in rows[:MAX_PICTURES]:
        image = sheets.photo(row["photo_id"])
        tile = Tile(striped() if image is None else image, f"{row['stage']}: {reason(row)}", True)
        page.rejected.append(picture(tile, 180))
    more = f" The first {MAX_LISTED} of {len(rows)}; rejected.parquet has all." if len(rows) > MAX_LISTED else ""
    page.rejected_rows = Grid(
        ["photograph", "stage", "reason"], [[r["path"], r["stage"], reason(r)] for r in rows[:MAX_LISTED]], more
    )


def pass_count(data: DatasetResults, stage: str) -> str:
    """How many the stage saw and let pass."""
    verdicts = list(data.table(stage)["status"])
    if not verdicts:
        return ""
    good = sum(verdict == "ok" for verdict in verdicts)
    return f"{good} of {len(verdicts)} passed" if good < len(verdicts) else f"all {good} passed"


def read_accuracy(data: DatasetResults) -> dict[str, Grid]:
    """Stage to its accuracy against the truth; empty where there is no truth."""
    path = data.root / "truth.json"
    if not path.exists():
        return {}

    def row(measure: dict[str, Any]) -> list[str]:
        numbers = (number(measure.get(key), measure["unit"]) for key in ("mean", "median", "p90"))
        return [measure["name"], *numbers, str(measure["count"]), measure["meaning"]]

    heads = ["against the truth", "mean", "median", "90 %", "n", "meaning"]
    with expecting(path, "a comparison with the truth"):
        stages = read_json(path)["stages"].items()
        return {stage: Grid(heads, [row(m) for m in measures]) for stage, measures in stages}


def number(value: float | None, unit: str) -> str:
    """A value with its unit, in as many digits as it deserves."""
    if value is None:
        return "–"
    if unit == "%":
        return f"{100 * value:.1f} %"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1
    return f"{value:.{digits}f}{' ' + unit if unit else ''}"


def picture(tile: Tile, side: int = SIDE) -> Picture:
    return Picture(jpeg(tile.image, side), tile.caption, tile.rejected)


def small(tile: Tile) -> str:
    return png(tile.image, 96) if max(tile.image.shape[:2]) <= 64 else jpeg(tile.image, 128, quality=88)
