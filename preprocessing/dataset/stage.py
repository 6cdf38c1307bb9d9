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
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.dataset_format import DatasetWriter, write_dataset
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import ShardReader
from ag3d.preprocessing.normals.inpainting import unit
from ag3d.preprocessing.normals.stage import BACKGROUND_ALPHA, encode

log = logging.getLogger(__name__)


def resize_crop(crop: np.ndarray, resolution: int) -> np.ndarray:
    """RGBA uint8 at another resolution; colours are averaged by their alpha, so the background does not bleed in."""
    if len(crop) == resolution:
        return crop
    flags = cv2.INTER_AREA if resolution < len(crop) else cv2.INTER_CUBIC
    share = crop[..., 3].astype(np.float32) / 255 + 1e-3  # the small part keeps colours where alpha is zero
    weighted = cv2.resize(crop[..., :3] * share[..., None], (resolution, resolution), interpolation=flags)
    alpha = cv2.resize(share, (resolution, resolution), interpolation=flags)
    colour = weighted / np.maximum(alpha, 1e-4)[..., None]
    merged = np.dstack([colour, 255 * (alpha - 1e-3)])
    return np.rint(merged.clip(0, 255)).astype(np.uint8)


def resize_normals(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Normal map uint8 [H,W,3] at the size of `alpha` (uint8 [h,w]): averaged over the person only, unit again."""
    if image.shape[:2] == alpha.shape:
        return image
    size = (alpha.shape[1], alpha.shape[0])
    flags = cv2.INTER_AREA if alpha.shape[0] < len(image) else cv2.INTER_LINEAR
    vectors = (image.astype(np.float32) / 127.5 - 1) * (image != 255).any(-1, keepdims=True)
    resized = cv2.resize(vectors, size, interpolation=flags)
    known = np.linalg.norm(resized, axis=-1) > 1e-3
    return encode(unit(resized), known & (alpha >= BACKGROUND_ALPHA * 255))


def pack(
    aligned: ShardReader, normals: ShardReader, resolution: int, output: DatasetWriter, without: Collection[str] = ()
) -> int:
    """Write the entries of everybody whose crop and normals are ok, but for those of `without`; the number of people."""
    status, labels = normals.json("status.json"), aligned.json("labels.json")
    ready = sorted(
        person for person in labels if status.get(person, {}).get("status") == "ok" and person not in without
    )
    for person in console.progress(ready, "packing", unit="image"):
        name = f"{person}.png"
        if len(crop := aligned.image(name)) == resolution:
            output.write_person(person, aligned.read(name), normals.read(name), labels[person])
        else:
            crop = resize_crop(crop, resolution)
            normal = resize_normals(normals.image(name), crop[..., 3])
            output.write_person(person, crop, normal, labels[person])
    return len(output)


def holds(path: Path, record: dict[str, Any]) -> bool:
    """Whether the file was made as `record` says, and is whole."""
    try:
        with zipfile.ZipFile(path) as archive:
            return ShardReader(path).record() == record and archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError, UserError):
        return False


def main() -> None:
    parser = console.parser("ag3d.preprocessing.dataset", __doc__)
    parser.add_argument("--aligned", type=Path, required=True, help="aligned crops of the shard (.zip)")
    parser.add_argument("--normals", type=Path, required=True, help="normal maps of the shard (.zip)")
    parser.add_argument("--alike", type=Path, help="who is shown already and left out (.parquet)")
    parser.add_argument("--output", type=Path, required=True, help="shard of the data set to write (.zip)")
    add_options(parser, Dataset)
    args = parser.parse_args()
    settings = from_options(Dataset, args)
    aligned = ShardReader(args.aligned)
    alike = set(read_table(args.alike)["person_id"]) if args.alike else set()
    without = sorted(alike & aligned.json("labels.json").keys())
    record = provenance.record("dataset", to_mapping(settings), [args.aligned, args.normals]) | {"without": without}
    if holds(args.output, record):
        os.utime(args.output)
        log.info("%s holds these people already", args.output)
        return
    with write_dataset(args.output, record) as output:
        count = pack(aligned, ShardReader(args.normals), settings.resolution, output, without)
    log.info("%d people of %d pixels", count, settings.resolution)
