"""Fit the body's shape, pose and camera to each person's landmarks and matte, all people of a batch at once.

Writes one row a person that reached this stage:

| column | meaning |
| --- | --- |
| person_id, photo_id, path | who |
| centre_x, centre_y, half | the square window of the photograph that is world [-1,1]² (pixels); `half` is also pixels per world unit |
| scale | SMPL scale of the label: 1 |
| transl [3], global_orient [3], body_pose [69], betas [10] | the body (world units = metres, radians) |
| reprojection, reprojection_px | mean landmark error: share of the body's height, pixels of the photograph |
| silhouette_iou | body against matte in the window |
| cut | share of the body's surface outside the photograph |
| uncertainty [24] | standard deviation of the joints about the pelvis (metres), by fits to landmarks moved by their usual errors |
| status, reason, value | ok; or rejected, why, and the measured value |
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ag3d.config.data import Fitting
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.device import choose_device
from ag3d.core.files import read_table, write_table
from ag3d.core.shards import ShardReader
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing.fitting.crop_frame import frame, height
from ag3d.preprocessing.fitting.fit_quality import cut_off, reprojection, silhouette_iou, silhouettes, verdict
from ag3d.preprocessing.fitting.importers import Imports, fit_of
from ag3d.preprocessing.fitting.landmark_vertices import reduce_body
from ag3d.preprocessing.fitting.objective import project
from ag3d.preprocessing.fitting.observations import landmarks_of, mask, observed, photo_sizes, side_by_side
from ag3d.preprocessing.fitting.optimise import Fit, fit
from ag3d.preprocessing.fitting.reduced_body import PointBody
from ag3d.preprocessing.fitting.temporal_smoothing import smooth

log = logging.getLogger(__name__)
COLUMNS = (
    *("person_id", "photo_id", "path", "centre_x", "centre_y", "half", "scale", "transl", "global_orient"),
    *("body_pose", "betas", "reprojection", "reprojection_px", "silhouette_iou", "cut", "uncertainty"),
    *("status", "reason", "value"),
)


def fit_shard(
    people: pd.DataFrame,
    mattes: ShardReader,
    body: Body,
    settings: Fitting,
    factors: dict[str, float] | None = None,
) -> pd.DataFrame:
    """Fit everybody whose detection and matte are ok. `people`: table of the stage people; `factors`, for imports:
    photograph to its pixels as it is read, per pixel of its file."""
    status = mattes.json("status.json")
    ready = people[people["status"] == "ok"]
    ready = ready[[status.get(person, {}).get("status") == "ok" for person in ready["person_id"]]]
    points = reduce_body(body).to(body.v_template.device)
    if settings.method == "import":
        return import_shard(ready, mattes, body, points, settings, factors or {})
    batches = list(_batches(ready, settings.batch))
    rows: list[dict[str, Any]] = []
    if settings.temporal_sigma > 0:  # a video's frames may lie in several batches
        every = [solve(batch, mattes, points, settings) for batch in console.progress(batches, "fitting", unit="batch")]
        whole = Fit(*(torch.cat(values) for values in zip(*(vars(f).values() for f in every), strict=True)))
        whole = smooth(whole, ready, settings.temporal_sigma) if every else whole
        sizes = [len(batch) for batch in batches]
        parts = zip(*(value.split(sizes) for value in vars(whole).values()), strict=True)
        for batch, part in zip(batches, parts, strict=True):
            rows.extend(describe(batch, mattes, body, points, Fit(*part), settings))
    else:
        for batch in console.progress(batches, "fitting", unit="batch"):
            rows.extend(describe(batch, mattes, body, points, solve(batch, mattes, points, settings), settings))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def import_shard(
    ready: pd.DataFrame,
    mattes: ShardReader,
    body: Body,
    points: PointBody,
    settings: Fitting,
    factors: dict[str, float],
) -> pd.DataFrame:
    """The same table from fits that were made elsewhere."""
    imports, rows = Imports(settings.imports), []
    for start in console.progress(range(len(ready)), "importing", unit="fit"):
        person = ready.iloc[start]
        found = fit_of(
            imports.of(person["path"]), person, factors.get(person["photo_id"], 1.0), body, settings.imports.focal
        )
        if found is None:
            row: dict[str, Any] = dict.fromkeys(COLUMNS)
            row |= {name: person[name] for name in ("person_id", "photo_id", "path")}
            row |= dict.fromkeys(
                ("centre_x", "centre_y", "half", "reprojection", "reprojection_px", "silhouette_iou", "cut"), np.nan
            )
            rows.append(row | {"status": "rejected", "reason": "there is no imported fit of this name"})
        else:
            rows.extend(describe(ready.iloc[start : start + 1], mattes, body, points, found[0], settings))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def solve(batch: pd.DataFrame, mattes: ShardReader, points: PointBody, settings: Fitting) -> Fit:
    """Fit the people of `batch`."""
    seen = observed(batch, mattes).to(points.template.device)
    return fit(points, seen, settings.iterations, samples=settings.uncertainty_samples)


def describe(
    batch: pd.DataFrame, mattes: ShardReader, body: Body, points: PointBody, found: Fit, settings: Fitting
) -> list[dict[str, Any]]:
    """Rows of the table for the people of `batch`, who were `found` so."""
    device, sizes = body.v_template.device, photo_sizes(batch)
    landmarks, weights = (values.to(device) for values in landmarks_of(batch, sizes))
    with torch.no_grad():
        place = frame(body, found)
        posed, _ = points(found.betas, axis_angle_to_matrix(found.global_orient), found.body_pose)
        pixels = project(posed, found.scale, found.origin)
        errors = reprojection(pixels[:, :33], landmarks, weights * points.landmark_weights)
        share = errors / (height(body, found.betas) * found.scale)
        cut = cut_off(pixels[:, points.surface], torch.as_tensor(sizes, dtype=torch.float32, device=device))
        shown = silhouettes(place, body.faces)
        measured = (share, errors, cut, place.reach(), place.centre, place.half, place.transl)
    share, errors, cut, reach, centre, half, transl = (values.double().cpu() for values in measured)
    found = Fit(*(values.double().cpu() for values in vars(found).values()))

    def overlap(k: int) -> float:
        return silhouette_iou(
            shown[k], centre[k].numpy(), float(half[k]), mask(mattes, batch["person_id"].iloc[k]), sizes[k]
        )

    overlaps = side_by_side(overlap, ((k,) for k in range(len(batch))))
    rows = []
    for k, (_, person) in enumerate(batch.iterrows()):
        state, reason, value = verdict(settings, float(share[k]), overlaps[k], float(cut[k]), float(reach[k]))
        rows.append(
            {
                **{name: person[name] for name in ("person_id", "photo_id", "path")},
                "centre_x": float(centre[k, 0]),
                "centre_y": float(centre[k, 1]),
                "half": float(half[k]),
                "scale": 1.0,
                "transl": transl[k].tolist(),
                "global_orient": found.global_orient[k].tolist(),
                "body_pose": found.body_pose[k].tolist(),
                "betas": found.betas[k].tolist(),
                "reprojection": float(share[k]),
                "reprojection_px": float(errors[k]),
                "silhouette_iou": overlaps[k],
                "cut": float(cut[k]),
                "uncertainty": found.spread[k].tolist(),
                "status": state,
                "reason": reason,
                "value": value,
            }
        )
    return rows


def _batches(table: pd.DataFrame, size: int) -> Iterator[pd.DataFrame]:
    for start in range(0, len(table), size):
        yield table.iloc[start : start + size]


def main() -> None:
    parser = console.parser("ag3d.preprocessing.fitting", __doc__)
    parser.add_argument("--people", type=Path, required=True, help="table of people of the shard (.parquet)")
    parser.add_argument("--mattes", type=Path, required=True, help="mattes of the shard (.zip)")
    parser.add_argument("--body", type=Path, required=True, help="the body model (.npz or .pkl)")
    parser.add_argument(
        "--manifest",
        type=Path,
        help="manifest of the shard (.parquet), for imports of photographs that are read at a reduced size",
    )
    parser.add_argument("--output", type=Path, required=True, help="table of fits to write (.parquet)")
    add_options(parser, Fitting)
    args = parser.parse_args()
    settings = from_options(Fitting, args)
    device = choose_device(settings.device, "fitting.device")
    torch.manual_seed(0)
    body = Body.load(args.body, device=device)
    photos = read_table(args.manifest) if args.manifest else pd.DataFrame({"photo_id": [], "scale": []})
    factors = dict(zip(photos["photo_id"], photos["scale"], strict=True))
    table = fit_shard(read_table(args.people), ShardReader(args.mattes), body, settings, factors)
    record = provenance.record("fitting", to_mapping(settings), [args.people, args.mattes, args.body])
    write_table(args.output, table, record)
    good = table[table["status"] == "ok"]
    log.info("%d fits, %d rejected", len(table), len(table) - len(good))
    if len(good):
        error, iou = 100 * good["reprojection"].mean(), good["silhouette_iou"].mean()
        log.info("mean landmark error %.1f %% of the body's height, mean silhouette IoU %.2f", error, iou)
