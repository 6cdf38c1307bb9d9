"""Cut the people of a shard out of their photographs.

Writes a zip: `<person_id>.png`, 8-bit alpha at the photograph's size, for everybody whose matte is good, and `status.json`:
person_id to status, reason, value, area and joints (what the verdict is made of), for everybody whom the stage `people` passed on. A photograph with an alpha channel
of its own that holds the person keeps it. Else `method` says who cuts: `blazepose`, the landmark network's mask refined at
the photograph's edges; `onnx`, a network of yours; `paddleseg`, a model of PaddleSeg's; or `folder`: mattes made elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from ag3d.config.data import Matting
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, landmarks, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import ShardWriter, write_shard
from ag3d.preprocessing.matting import refine
from ag3d.preprocessing.matting.folder_backend import MatteFolder
from ag3d.preprocessing.matting.onnx_backend import OnnxMatte
from ag3d.preprocessing.matting.paddleseg import PaddleMatte
from ag3d.preprocessing.people.blazepose import BlazePose
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import Photo, PhotoError

log = logging.getLogger(__name__)
SLACK = 0.015  # of the region's side: how far a joint may lie outside the matte
Cut = Callable[[np.ndarray, RotatedBox], np.ndarray]  # uint8 RGB [H,W,3] and where the person is, to alpha uint8 [H,W]


def by_blazepose(net: BlazePose) -> Cut:
    """Cut with the landmark network's mask."""
    return lambda rgb, region: refine.refine(rgb, net.segment(rgb, region), region)


def matte(photo: Photo, region: RotatedBox, joints: np.ndarray, cut: Cut | MatteFolder, path: str = "") -> np.ndarray:
    """uint8 [H,W]: alpha of the person in `region` whose visible joints are `joints` [n,2] (pixels); `path`: the
    photograph's. Raises PhotoError."""
    if isinstance(cut, MatteFolder):
        return refine.keep_person(cut.alpha(path, (photo.rgb.shape[1], photo.rgb.shape[0])), joints)
    if photo.alpha is not None and refine.inside(photo.alpha, joints, SLACK * region.side) > 0.8:
        return refine.keep_person(photo.alpha, joints)
    return refine.keep_person(cut(photo.rgb, region), joints)


def measure(alpha: np.ndarray, region: RotatedBox, joints: np.ndarray, settings: Matting) -> dict[str, float]:
    """How much of the person's square a matte covers, and the share of the joints that it holds."""
    area = float((alpha > 255 * settings.threshold).sum()) / region.side**2
    return {"area": area, "joints": refine.inside(alpha, joints, SLACK * region.side)}


def judge(measured: dict[str, float], settings: Matting) -> tuple[str, float] | None:
    """Why a matte cannot be used, with the measured value; None if it can."""
    if measured["area"] < settings.min_area:
        return "the matte is empty or tiny (share of the person's square)", measured["area"]
    if measured["joints"] < settings.min_joints:
        return "the matte misses the person's joints (share that it holds)", measured["joints"]
    return None


def matting_of_shard(
    manifest: Manifest, people: pd.DataFrame, cut: Cut | MatteFolder, settings: Matting, output: ShardWriter
) -> dict[str, dict[str, Any]]:
    """Write the mattes of the people that are ok, one photograph in memory at a time. Returns the status of each."""
    status: dict[str, dict[str, Any]] = {}
    ready = people[people["status"] == "ok"].to_dict("records")
    for person in console.progress(ready, "mattes", unit="person"):
        name = person["person_id"]
        region = RotatedBox(*person["region"])
        points = np.reshape(person["landmarks_2d"], (33, 2))[landmarks.LIMBS]
        joints = points[np.asarray(person["visibility"])[landmarks.LIMBS] > 0.5]
        reason: tuple[str, float | None] | None
        measured: dict[str, float] = {}
        try:
            alpha = matte(manifest.photo(person["photo_id"]), region, joints, cut, person["path"])
            measured = measure(alpha, region, joints, settings)
            reason = judge(measured, settings)
        except PhotoError as error:
            reason = (error.reason, error.value)
        if reason is None:
            output.add_image(f"{name}.png", alpha)
        why, value = reason or ("", None)
        status[name] = {"status": "ok" if reason is None else "rejected", "reason": why, "value": value, **measured}
    output.add_json("status.json", status)
    return status


def choose(settings: Matting, models: Path | None, threads: int) -> tuple[Cut | MatteFolder, list[Path]]:
    """Who cuts, and the files that they are made of. Raises UserError about these."""
    if settings.method == "folder":
        return MatteFolder(settings.folder), []
    if settings.method == "paddleseg":
        paddle = PaddleMatte(settings.paddle, threads)
        return paddle, paddle.files
    if settings.method == "onnx":
        own = OnnxMatte(settings.onnx, threads)
        return own, [own.network.file]
    if models is None:
        raise UserError("matting.method is blazepose, which needs --models")
    net = BlazePose(models, threads)
    return by_blazepose(net), net.files


def main() -> None:
    parser = console.parser("ag3d.preprocessing.matting", __doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the shard (.parquet)")
    parser.add_argument("--people", type=Path, required=True, help="table of people of the shard (.parquet)")
    parser.add_argument("--models", type=Path, help="folder of BlazePose's .tflite files (method: blazepose)")
    parser.add_argument("--output", type=Path, required=True, help="mattes to write (.zip)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the networks (default: 1)")
    add_options(parser, Matting)
    args = parser.parse_args()
    settings = from_options(Matting, args)
    cv2.setNumThreads(args.threads)
    cut, files = choose(settings, args.models, args.threads)
    record = provenance.record("matting", to_mapping(settings), [args.manifest, args.people, *files])
    with write_shard(args.output, record) as output:
        status = matting_of_shard(Manifest(args.manifest), read_table(args.people), cut, settings, output)
    bad = [entry["reason"] for entry in status.values() if entry["status"] != "ok"]
    log.info("%d mattes, %d rejected", len(status) - len(bad), len(bad))
    for reason in sorted(set(bad)):
        log.info("  %d: %s", bad.count(reason), reason)
