"""Cut the people of a shard out of their photographs.

Writes a zip with `<person_id>.png`, 8-bit alpha at the photograph's size, of everybody whose matte is good, and beside it a
table of everybody whom the stage `people` passed on:

| column | meaning |
| --- | --- |
| person_id, photo_id, path | who |
| area, joints | the matte's share of the square around the person; share of the person's visible joints that it holds |
| status, reason, value | ok; or rejected, why, and the measured value |

A photograph with an alpha channel of its own that holds the person keeps it. Else `method` says who cuts: `blazepose`, the
landmark network's mask refined at the photograph's edges; `onnx`, a network of yours; `paddleseg`, a model of PaddleSeg's;
or `folder`: mattes made elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ag3d.config.data import Matting
from ag3d.core import console, landmarks
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import ShardWriter
from ag3d.preprocessing import schemas
from ag3d.preprocessing.matching import Photographs, name_of
from ag3d.preprocessing.matting import refine
from ag3d.preprocessing.matting.backends import FolderBackend, OnnxBackend
from ag3d.preprocessing.matting.paddleseg import PaddleBackend
from ag3d.preprocessing.people.blazepose import BlazePose
from ag3d.preprocessing.people.rotated_box import RotatedBox
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import Photo, PhotoError
from ag3d.preprocessing.stage import OK, Row, Verdict, parse, passed, person_of, run_stage, stage_parser

SLACK = 0.015  # of the region's side: how far a joint may lie outside the matte
# uint8 RGB [H,W,3] and where the person is, to alpha uint8 [H,W]
MattingNetwork = Callable[[np.ndarray, RotatedBox], np.ndarray]


def blazepose_backend(net: BlazePose) -> MattingNetwork:
    """Cut with the landmark network's mask."""
    return lambda rgb, region: refine.refine(rgb, net.segment(rgb, region), region)


def matte(
    photo: Photo, region: RotatedBox, joints: np.ndarray, backend: MattingNetwork | FolderBackend, path: str = ""
) -> np.ndarray:
    """uint8 [H,W]: alpha of the person in `region` whose visible joints are `joints` [n,2] (pixels); `path`: what the
    photograph goes by. Raises PhotoError."""
    if isinstance(backend, FolderBackend):
        return refine.keep_person(backend.alpha(path, (photo.rgb.shape[1], photo.rgb.shape[0])), joints)
    if photo.alpha is not None and refine.share_inside(photo.alpha, joints, SLACK * region.side) > 0.8:
        return refine.keep_person(photo.alpha, joints)
    return refine.keep_person(backend(photo.rgb, region), joints)


def matte_quality(alpha: np.ndarray, region: RotatedBox, joints: np.ndarray, settings: Matting) -> dict[str, float]:
    """How much of the person's square a matte covers, and the share of the joints that it holds."""
    area = float((alpha > 255 * settings.threshold).sum()) / region.side**2
    return {"area": area, "joints": refine.share_inside(alpha, joints, SLACK * region.side)}


def check_matte(quality: dict[str, float], settings: Matting) -> Verdict:
    """Whether a matte can be used."""
    if quality["area"] < settings.min_area:
        return Verdict.rejected("the matte is empty or tiny (share of the person's square)", quality["area"])
    if quality["joints"] < settings.min_joints:
        return Verdict.rejected("the matte misses the person's joints (share that it holds)", quality["joints"])
    return OK


def mattes_of_shard(
    manifest: Manifest,
    people: pd.DataFrame,
    backend: MattingNetwork | FolderBackend,
    settings: Matting,
    pictures: ShardWriter,
) -> Iterator[Row]:
    """Write the mattes of the people that are ok, one photograph in memory at a time; a row for each."""
    for person in console.progress(passed(people), "mattes", unit="person"):
        region = RotatedBox(*person["region"])
        limbs = np.reshape(person["landmarks_2d"], (33, 2))[landmarks.LIMBS]
        joints = limbs[np.asarray(person["visibility"])[landmarks.LIMBS] > 0.5]
        try:
            name = name_of(person["path"], person["photo_id"])
            alpha = matte(manifest.photo(person["photo_id"]), region, joints, backend, name)
        except PhotoError as error:
            yield person_of(person) | vars(Verdict.unreadable(error))
            continue
        quality = matte_quality(alpha, region, joints, settings)
        verdict = check_matte(quality, settings)
        if verdict.ok:
            pictures.add_image(f"{person['person_id']}.png", alpha)
        yield person_of(person) | quality | vars(verdict)


def choose_backend(
    settings: Matting, models: Path | None, threads: int, device: str = "cpu", manifest: Manifest | None = None
) -> tuple[MattingNetwork | FolderBackend, list[Path]]:
    """Who cuts, and the files that they are made of. `manifest`: of the photographs whose mattes a folder may hold. Raises
    UserError about these."""
    if settings.method == "folder":
        return FolderBackend(settings.folder, Photographs.of(manifest) if manifest else None), []
    if settings.method == "paddleseg":
        paddle = PaddleBackend(settings.paddle, threads)
        return paddle, paddle.files
    if settings.method == "onnx":
        from ag3d.core.device import choose_device  # PyTorch takes seconds to import

        onnx = OnnxBackend(settings.onnx, threads, str(choose_device(device, "--device")))
        return onnx, [onnx.network.file]
    if models is None:
        raise UserError("matting.method is blazepose, which needs --models")
    net = BlazePose(models, threads)
    return blazepose_backend(net), net.files


def main() -> None:
    paths = {
        "manifest": "manifest of the shard (.parquet)",
        "people": "table of people of the shard (.parquet)",
        "output": "mattes to write (.zip); their table lies beside them (.parquet)",
    }
    parser = stage_parser("matting", __doc__, paths, networks=True)
    parser.add_argument("--models", type=Path, help="folder of BlazePose's .tflite files (method: blazepose)")
    args, settings = parse(parser, Matting)
    cv2.setNumThreads(args.threads)
    manifest = Manifest(args.manifest)
    backend, files = choose_backend(settings, args.models, args.threads, args.device, manifest)
    process = partial(mattes_of_shard, manifest, read_table(args.people, schemas.PEOPLE), backend, settings)
    run_stage("matting", settings, [args.manifest, args.people, *files], args.output, schemas.MATTES, process)
