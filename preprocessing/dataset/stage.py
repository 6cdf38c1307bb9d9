"""Pack a shard of the data set in AG3D's own format (see ag3d.core.dataset_format)."""

from __future__ import annotations

import logging
import os
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ag3d.config.data import Dataset
from ag3d.config.settings import to_mapping
from ag3d.core import console, provenance
from ag3d.core.dataset_format import DatasetWriter, write_dataset
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.resize import resize
from ag3d.core.shards import ShardReader
from ag3d.preprocessing import schemas
from ag3d.preprocessing.normals.inpainting import unit
from ag3d.preprocessing.normals.stage import BACKGROUND_ALPHA, encode
from ag3d.preprocessing.stage import parse, passed, read_verdicts, stage_parser, with_tables

log = logging.getLogger(__name__)


def resize_crop(crop: np.ndarray, resolution: int) -> np.ndarray:
    """RGBA uint8 at another resolution; colours are averaged by their alpha, so the background does not bleed in."""
    if len(crop) == resolution:
        return crop
    size = (resolution, resolution)
    share = crop[..., 3].astype(np.float32) / 255 + 1e-3  # the small part keeps colours where alpha is zero
    weighted = resize(crop[..., :3] * share[..., None], size, cv2.INTER_CUBIC)
    alpha = resize(share, size, cv2.INTER_CUBIC)
    colour = weighted / np.maximum(alpha, 1e-4)[..., None]
    merged = np.dstack([colour, 255 * (alpha - 1e-3)])
    return np.rint(merged.clip(0, 255)).astype(np.uint8)


def resize_normals(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Normal map uint8 [H,W,3] at the size of `alpha` (uint8 [h,w]): averaged over the person only, unit again."""
    if image.shape[:2] == alpha.shape:
        return image
    vectors = (image.astype(np.float32) / 127.5 - 1) * (image != 255).any(-1, keepdims=True)
    resized = resize(vectors, (alpha.shape[1], alpha.shape[0]))
    known = np.linalg.norm(resized, axis=-1) > 1e-3
    return encode(unit(resized), known & (alpha >= BACKGROUND_ALPHA * 255))


def pack(aligned: Path, normals: Path, resolution: int, output: DatasetWriter, without: Collection[str] = ()) -> int:
    """Write the entries of everybody whose crop and normals are ok, but for those of `without`; the number of people."""
    crops, maps = ShardReader(aligned), ShardReader(normals)
    labels = {row["person_id"]: row["label"] for row in passed(read_verdicts(aligned, schemas.ALIGNED))}
    ready = sorted({row["person_id"] for row in passed(read_verdicts(normals))} & labels.keys() - set(without))
    for person in console.progress(ready, "packing", unit="image"):
        name = f"{person}.png"
        if len(crop := crops.image(name)) == resolution:
            output.write_person(person, crops.read(name), maps.read(name), labels[person])
        else:
            crop = resize_crop(crop, resolution)
            output.write_person(person, crop, resize_normals(maps.image(name), crop[..., 3]), labels[person])
    return len(output)


def holds(path: Path, record: dict[str, Any]) -> bool:
    """Whether the file was made as `record` says, and is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            return ShardReader(path).record() == record and archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, UserError):
        return False


def main() -> None:
    paths = {
        "aligned": "aligned crops of the shard (.zip)",
        "normals": "normal maps of the shard (.zip)",
        "output": "shard of the data set to write (.zip)",
    }
    parser = stage_parser("dataset", __doc__, paths)
    parser.add_argument("--alike", type=Path, help="who is shown already and left out (.parquet)")
    args, settings = parse(parser, Dataset)
    alike = set(read_table(args.alike, schemas.ALIKE)["person_id"]) if args.alike else set()
    without = sorted(alike & {row["person_id"] for row in passed(read_verdicts(args.aligned))})
    inputs = with_tables([args.aligned, args.normals])
    record = provenance.record("dataset", to_mapping(settings), inputs) | {"without": without}
    if holds(args.output, record):
        os.utime(args.output)
        log.info("%s holds these people already", args.output)
        return
    with write_dataset(args.output, record) as output:
        count = pack(args.aligned, args.normals, settings.resolution, output, without)
    log.info("%d people of %d pixels", count, settings.resolution)
