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
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ag3d.config.data import Fitting
from ag3d.core import console
from ag3d.core.camera import project
from ag3d.core.device import choose_device
from ag3d.core.files import read_table
from ag3d.core.shards import ShardReader
from ag3d.model.body.body import Body
from ag3d.model.body.rotation import axis_angle_to_matrix
from ag3d.preprocessing import schemas
from ag3d.preprocessing.fitting.crop_frame import (
    body_masks,
    check_fit,
    crop_frame,
    out_of_photo,
    reprojection_error,
    silhouette_iou,
)
from ag3d.preprocessing.fitting.importers import Imports, best_fit
from ag3d.preprocessing.fitting.observations import map_threaded, observe, photo_sizes, read_mask, weighted_landmarks
from ag3d.preprocessing.fitting.optimise import FitResult, fit_bodies
from ag3d.preprocessing.fitting.reduced_body import PointBody, reduce_body
from ag3d.preprocessing.fitting.temporal_smoothing import smooth
from ag3d.preprocessing.matching import Photographs, name_of
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.stage import Row, Verdict, parse, passed, person_of, read_verdicts, run_stage, stage_parser

log = logging.getLogger(__name__)


def fit_shard(
    people: pd.DataFrame,
    mattes: ShardReader,
    body: Body,
    settings: Fitting,
    photo_scales: dict[str, float] | None = None,
    photographs: Photographs | None = None,
) -> list[Row]:
    """Rows of everybody whose detection and matte are ok. `people`: table of the stage people. For imports `photo_scales`:
    photograph to its pixels as it is read, per pixel of its file; `photographs`: all that the fits may be of."""
    matted = [row["person_id"] for row in passed(read_verdicts(mattes.path))]
    ready = people[(people["status"] == "ok") & people["person_id"].isin(matted)]
    points = reduce_body(body).to(body.device)
    if settings.method == "import":
        return import_shard(ready, mattes, body, points, settings, photo_scales or {}, photographs)
    batches = [ready.iloc[start : start + settings.batch] for start in range(0, len(ready), settings.batch)]
    fits = [
        fit_bodies(
            points, observe(batch, mattes).to(body.device), settings.iterations, samples=settings.uncertainty_samples
        )
        for batch in console.progress(batches, "fitting", unit="batch")
    ]
    if settings.temporal_sigma > 0 and fits:  # a video's frames may lie in several batches
        fits = smooth(FitResult.cat(fits), ready, settings.temporal_sigma).split([len(batch) for batch in batches])
    return [
        row
        for batch, fit in zip(batches, fits, strict=True)
        for row in describe(batch, mattes, body, points, fit, settings)
    ]


def import_shard(
    ready: pd.DataFrame,
    mattes: ShardReader,
    body: Body,
    points: PointBody,
    settings: Fitting,
    photo_scales: dict[str, float],
    photographs: Photographs | None,
) -> list[Row]:
    """The same rows from fits that were made elsewhere."""
    imports, rows = Imports(settings.imports, photographs), []
    for index in console.progress(range(len(ready)), "importing", unit="fit"):
        person, focal = ready.iloc[index], settings.imports.focal
        name = name_of(person["path"], person["photo_id"])
        best = best_fit(imports.of(name), person, photo_scales.get(person["photo_id"], 1.0), body, focal)
        if best is None:
            reason = imports.refused.get(name, "there is no imported fit of this name")
            rows.append(person_of(person) | vars(Verdict.rejected(reason)))
        else:
            rows += describe(ready.iloc[index : index + 1], mattes, body, points, best[0], settings)
    return rows


@torch.no_grad()
def describe(
    batch: pd.DataFrame, mattes: ShardReader, body: Body, points: PointBody, fit: FitResult, settings: Fitting
) -> list[Row]:
    """Rows of the table for the people of `batch`."""
    device, sizes = body.device, photo_sizes(batch)
    landmarks, weights = (values.to(device) for values in weighted_landmarks(batch, sizes))
    frame = crop_frame(body, fit)
    posed, _ = points(fit.betas, axis_angle_to_matrix(fit.global_orient), fit.body_pose)
    pixels = project(posed, fit.scale, fit.origin)
    errors = reprojection_error(pixels[:, :33], landmarks, weights * points.landmark_weights)
    share = errors / (body.standing_height(fit.betas) * fit.scale)
    cut = out_of_photo(pixels[:, points.surface], torch.as_tensor(sizes, dtype=torch.float32, device=device))
    masks = body_masks(frame, body.faces)
    measured = {
        "centre_x": frame.centre[:, 0],
        "centre_y": frame.centre[:, 1],
        "half": frame.half,
        "scale": torch.ones(len(batch)),
        "transl": frame.transl,
        **{name: getattr(fit, name) for name in ("global_orient", "body_pose", "betas", "uncertainty")},
        "reprojection": share,
        "reprojection_px": errors,
        "cut": cut,
        "reach": frame.reach(),
    }
    columns = {name: values.double().cpu().tolist() for name, values in measured.items()}

    def row(k: int) -> Row:
        values = {name: column[k] for name, column in columns.items()}
        matte = read_mask(mattes, batch["person_id"].iloc[k])
        window = np.array([values["centre_x"], values["centre_y"]]), values["half"]
        iou = silhouette_iou(masks[k], *window, matte, sizes[k])
        verdict = check_fit(settings, values["reprojection"], iou, values["cut"], values["reach"])
        return person_of(batch.iloc[k]) | values | {"silhouette_iou": iou} | vars(verdict)

    return map_threaded(row, ((k,) for k in range(len(batch))))


def main() -> None:
    paths = {
        "people": "table of people of the shard (.parquet)",
        "mattes": "mattes of the shard (.zip)",
        "body": "the body model (.npz or .pkl)",
        "output": "table of fits to write (.parquet)",
    }
    parser = stage_parser("fitting", __doc__, paths)
    parser.add_argument(
        "--manifest", type=Path, help="manifest (.parquet), for imports of photographs that are reduced"
    )
    args, settings = parse(parser, Fitting)
    device = choose_device(settings.device, "fitting.device")
    torch.manual_seed(0)
    body, people, mattes = (
        Body.load(args.body, device=device),
        read_table(args.people, schemas.PEOPLE),
        ShardReader(args.mattes),
    )
    photo_scales, photographs = {}, None
    if args.manifest and settings.method == "import":
        manifest = Manifest(args.manifest)
        photo_scales = dict(zip(manifest.table["photo_id"], manifest.table["scale"], strict=True))
        photographs = Photographs.of(manifest)
    inputs = [args.people, args.mattes, args.body]
    process = partial(fit_shard, people, mattes, body, settings, photo_scales, photographs)
    table = run_stage("fitting", settings, inputs, args.output, schemas.FITS, process)
    good = table[table["status"] == "ok"]
    if len(good):
        error, iou = 100 * good["reprojection"].mean(), good["silhouette_iou"].mean()
        log.info("mean landmark error %.1f %% of the body's height, mean silhouette IoU %.2f", error, iou)
