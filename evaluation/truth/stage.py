"""Compare every stage of the preprocessing with the truth of the synthetic photographs.

Writes JSON: `stages`: stage to a list of measures, each with name, unit ('%' where the value is a share), mean, median,
p90, count and meaning; `photographs`: how many there are; `versions`, `record`: what made the file.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ag3d.core import console, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import read_table, write_json
from ag3d.core.shards import ShardReader
from ag3d.evaluation.results_reader import DatasetResults, expecting
from ag3d.evaluation.truth.stage_accuracy import Errors, StageComparison
from ag3d.model.body.body import Body

log = logging.getLogger(__name__)

# stage, key: name, unit, whether the values are yes or no, meaning
MEASURES: dict[str, dict[str, tuple[str, str, bool, str]]] = {
    "photos": {
        "readable": ("readable", "%", True, "photographs that were read"),
        "reached": ("reached the data set", "%", True, "photographs whose person is in the data set"),
    },
    "people": {
        "detected": ("person found", "%", True, "photographs in which the person was found"),
        "accepted": ("accepted", "%", True, "found people who passed the stage"),
        "landmarks": ("landmark error", "%", False, "mean distance of 17 landmarks from the true joints, share of the height"),
        "near": ("landmarks near", "%", False, "landmarks closer than 5 % of the height"),
        "swapped": ("left and right swapped", "%", True, "people whose landmarks fit better with sides exchanged"),
    },
    "matting": {
        "overlap": ("overlap", "%", False, "intersection over union with the true mask"),
        "kept": ("kept", "%", False, "share of the true mask, hair and skirts included, that the matte holds"),
        "boundary": ("boundary error", "%", False, "mean distance between the outlines, share of the height"),
        "boundary_512": ("boundary error at 512", "px", False, "the same in pixels of a crop of 512"),
        "alpha": ("alpha error", "%", False, "sum of absolute differences, share of the person's area"),
    },
    "fitting": {
        "reprojection": ("joint error in the image", "%", False, "mean distance of 24 joints, share of the height"),
        "mpjpe": ("MPJPE", "mm", False, "mean distance of 24 joints in space, pelvis on pelvis"),
        "pa_mpjpe": ("PA-MPJPE", "mm", False, "the same after the best similarity transform"),
        "orientation": ("orientation error", "°", False, "angle between the global orientations"),
        "flipped": ("front and back confused", "%", True, "bodies turned by more than 90° from the truth"),
        "height": ("height error", "cm", False, "difference of the standing heights"),
        "silhouette": ("silhouette overlap", "%", False, "body's silhouette and true mask of the clothed person, IoU"),
    },
    "alignment": {
        "joints": ("joint error in the crop", "px", False, "joints of the label from the true ones, pixels of the crop"),
        "joints_512": ("joint error at 512", "px", False, "the same in pixels of a crop of 512"),
        "overlap": ("alpha overlap", "%", False, "intersection over union with the true mask in the crop's window"),
    },
    "normals": {
        "angle": ("angular error", "°", False, "mean angle to the true normals of the clothed person, inside both masks"),
        "body": ("angular error of the body", "°", False, "the same of normals that follow from the fitted body alone"),
        "gain": ("below the body's", "%", False, "how much of that error the normal map takes away"),
    },
}  # fmt: skip


def summary(errors: dict[str, Errors]) -> dict[str, list[dict[str, Any]]]:
    """Stage to its measures. Stages without values are left out."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for stage, measures in MEASURES.items():
        for key, (name, unit, yes_or_no, meaning) in measures.items():
            values = np.array(errors.get(stage, {}).get(key, []))
            if not len(values):
                continue
            entry = {"key": key, "name": name, "unit": unit, "meaning": meaning, "count": len(values)}
            entry["mean"] = float(values.mean())
            entry["median"] = None if yes_or_no else float(np.median(values))
            entry["p90"] = None if yes_or_no else float(np.percentile(values, 90))
            stages.setdefault(stage, []).append(entry)
    return stages


def compare(folder: Path, truth: Path, body: Body, shards: int | None = None) -> dict[str, Any]:
    """The content of the file. Raises UserError where the truth is missing."""
    table, maps = truth / "truth.parquet", truth / "truth.zip"
    for path in (table, maps):
        if not path.exists():
            raise UserError(f"{path} does not exist; only synthetic photographs have a truth")
    rows = read_table(table).to_dict("records")
    with expecting(truth, f"the truth about the photographs of {folder}"):
        comparison = StageComparison(DatasetResults(folder, shards), rows, ShardReader(maps), body)
        for person in console.progress(comparison.people, "comparing", unit="person"):
            comparison.compare(person)
    stages = summary(comparison.errors)
    if len(comparison.heights) > 2:
        rank = float(spearmanr(*zip(*comparison.heights, strict=True)).statistic)
        meaning = "Spearman's, of fitted and true standing heights: 1 where the tall are fitted tall"
        head = {"key": "height_rank", "name": "rank correlation of heights", "unit": "", "meaning": meaning}
        count = len(comparison.heights)
        stages["fitting"].append({**head, "count": count, "mean": rank, "median": None, "p90": None})
    return {"stages": stages, "photographs": len(comparison.people)}


def main() -> None:
    parser = console.parser("ag3d.evaluation.truth", __doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the data set (results/<dataset>)")
    parser.add_argument("--truth", type=Path, required=True, help="folder of truth.parquet and truth.zip")
    parser.add_argument("--body", type=Path, required=True, help="the body model")
    parser.add_argument("--shards", type=int, help="how many shards the data set has (default: all that are there)")
    parser.add_argument("--output", type=Path, required=True, help="JSON to write")
    args = parser.parse_args()
    result = compare(args.folder, args.truth, Body.load(args.body), args.shards)
    record = provenance.record("truth", {}, [args.truth / "truth.parquet", args.body])
    write_json(args.output, {**result, "versions": provenance.versions(), "record": record})
    for stage, measures in result["stages"].items():
        for m in measures:
            factor = 100 if m["unit"] == "%" else 1
            log.info("%-8s %-26s %8.2f %s", stage, m["name"], factor * m["mean"], m["unit"])
