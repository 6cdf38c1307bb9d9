"""Write the report of a run: one self-contained HTML page that works offline.

It shows pictures of every stage, who was left out and why, accuracy against the truth where there is one, the pose
distribution, training curves and previews, avatars and videos, measurements, times, versions and the configuration.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ag3d.config import Config, load
from ag3d.config.settings import read_yaml
from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.core.files import write_text
from ag3d.core.html import render_page
from ag3d.evaluation.report.page import Card, Page
from ag3d.evaluation.report.preprocessing import add_preprocessing
from ag3d.evaluation.report.results import add_measurements, add_origin, add_run, add_times
from ag3d.evaluation.results_reader import DatasetResults, expecting
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import read_description, settings_of

log = logging.getLogger(__name__)
HERE = Path(__file__).parent


def build(dataset: Path, run: Path, body: Body, configuration: dict[str, Any], partial: bool = False) -> Page:
    """The page of a data set and a run. Raises UserError where results are missing, unless `partial`."""
    page = Page(f"Run {run.name}", f"data set {dataset.name}")
    settings = load(configuration) if configuration else None
    stages = () if settings and settings.photos.source == "zip" else ("photos", "fitting")
    page.missing = [str(path) for path in expected(dataset, run, stages) if not path.exists()]
    if page.missing and not partial:
        raise UserError(f"{page.missing[0]} does not exist; finish the run first, or give --partial")
    data = DatasetResults(dataset, settings.photos.shards if settings else None)
    milestones = (
        settings.training.milestone_names() if settings else sorted(p.name for p in (run / "training").glob("[0-9]*"))
    )
    photographs = len(data.table("photos"))
    if photographs:
        page.cards.append(Card(f"{len(data.people())} of {photographs}", "photographs in the data set"))
    checkpoints = [path for name in milestones if (path := run / "training" / name / "checkpoint.json").exists()]
    if checkpoints:
        last = read_description(checkpoints[-1].parent)
        with expecting(checkpoints[-1], "a checkpoint's description"):
            card = Card(f"{last['kimg']:g} kimg", "trained", f"{settings_of(last).image_resolution} pixels")
        page.cards.append(card)
    add_measurements(page, run, milestones)
    add_preprocessing(page, data, body, settings or Config())
    add_run(page, run)
    results = run.parent
    add_times(page, [results / "body", results / "models", dataset, run])
    add_origin(page, configuration)
    return page


def expected(dataset: Path, run: Path, stages: tuple[str, ...]) -> list[Path]:
    """What a finished run has; `stages` that its data set went through."""
    return [
        *(dataset / name for name in ("index.json", "rejected.parquet", "poses.npy", *stages, "dataset")),
        *(
            run / name
            for name in ("training", "avatars/avatars.json", "export/export.json", "metrics", "tables/comparison.json")
        ),
    ]


def render(page: Page) -> str:
    """The page as HTML."""
    return render_page(HERE / "template.html", page=page, style=(HERE / "style.css").read_text(encoding="utf-8"))


def main() -> None:
    parser = console.parser("ag3d.evaluation.report", __doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of the data set (results/<dataset>)")
    parser.add_argument("--run", type=Path, required=True, help="folder of the run (results/<run>)")
    parser.add_argument("--body", type=Path, required=True, help="the body model")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the run's configuration, to be shown")
    parser.add_argument("--partial", action="store_true", help="also report on a run that is not finished")
    parser.add_argument("--output", type=Path, required=True, help="page to write (.html)")
    args = parser.parse_args()
    configuration = read_yaml(args.config) if args.config else {}
    page = build(args.dataset, args.run, Body.load(args.body), configuration, args.partial)
    write_text(args.output, render(page))
    log.info("%s, %.1f MB", args.output, args.output.stat().st_size / 1e6)


if __name__ == "__main__":
    console.run(main)
