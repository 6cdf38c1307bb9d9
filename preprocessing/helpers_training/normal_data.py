"""Pack what the normal network is trained on: crops of synthetic people, their fitted bodies' normals, the true normals.

Input are data sets made from synthetic photographs (`photos.source: synthetic`), so crops, mattes and bodies have the
errors that the pipeline makes. Writes an uncompressed zip; for each person, named <data set>/<identifier>:

| entry | content |
| --- | --- |
| `<name>.avif` | four squares beside each other: colours, the fitted body's normals, the true normals (RGB = 127.5 (n + 1)), the crop's alpha |
| `<name>.png` | grey: 1 where the body is seen, plus 2 where the true normals are known |
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ag3d.core import console, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import ShardReader, ShardWriter, encode_png, shard_files, write_shard
from ag3d.model.body.body import Body
from ag3d.preprocessing import schemas
from ag3d.preprocessing.alignment import window
from ag3d.preprocessing.normals.inpainting import push_pull, unit
from ag3d.preprocessing.normals.stage import body_normals
from ag3d.preprocessing.stage import passed, read_verdicts

log = logging.getLogger(__name__)
QUALITY = 70  # of the AVIF, whose colours are kept at full resolution: half of a JPEG's bytes at the same error


def encode_example(
    crop: np.ndarray, body: np.ndarray, covered: np.ndarray, true: np.ndarray, known: np.ndarray
) -> tuple[bytes, bytes]:
    """The two entries of a person: crop uint8 RGBA [S,S,4], normals [S,S,3], masks [S,S]."""
    alpha = crop[..., 3]
    panels = [
        _bleed(crop[..., :3].astype(np.float32), alpha > 12),
        _bleed(127.5 * (body + 1), covered),
        _bleed(127.5 * (true + 1), known),
        np.repeat(alpha[..., None], 3, axis=2),
    ]
    picture, joined = io.BytesIO(), Image.fromarray(np.rint(np.hstack(panels)).clip(0, 255).astype(np.uint8))
    joined.save(picture, "AVIF", quality=QUALITY, subsampling="4:4:4", speed=7)
    return picture.getvalue(), encode_png(covered.astype(np.uint8) + 2 * known.astype(np.uint8))


def _bleed(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`values` [S,S,3] continued smoothly beyond `mask`: an edge there would cost bytes and ring into the person."""
    known = np.where(mask[..., None], values, 0).astype(np.float32)
    return np.where(mask[..., None], values, push_pull(known, mask.astype(np.float32)))


def pack(folder: Path, body: Body, output: ShardWriter) -> int:
    """Add everybody of the data set in `folder`. Returns their number; raises UserError where it has no truth."""
    table, maps = folder / "synthetic/truth/truth.parquet", folder / "synthetic/truth/truth.zip"
    if not table.exists() or not maps.exists():
        raise UserError(f"{folder} has no truth (synthetic/truth); only synthetic photographs have one")
    truth, images, count = read_table(table).set_index("photo_id"), ShardReader(maps), 0
    for path in shard_files(folder / "alignment", ".zip"):
        aligned = ShardReader(path)
        fits = read_table(folder / "fitting" / f"{path.stem}.parquet").set_index("person_id")
        widths = read_table(folder / "photos" / f"{path.stem}.parquet").set_index("photo_id")["width"]
        labels = {row["person_id"]: row["label"] for row in passed(read_verdicts(path, schemas.ALIGNED))}
        for person in console.progress(sorted(labels), f"{folder.name} {path.stem}", unit="person"):
            photo = str(fits.loc[person, "photo_id"])
            factor = widths[photo] / truth.loc[photo, "width"]
            crop = aligned.image(f"{person}.png")
            true, known = true_normals(images, photo, fits.loc[person], factor, len(crop))
            normals, covered = body_normals(body, labels[person], len(crop))
            if not covered.any() or not known.any():
                continue
            picture, masks = encode_example(crop, normals, covered, true, known)
            output.add(f"{folder.name}/{person}.avif", picture)
            output.add(f"{folder.name}/{person}.png", masks)
            count += 1
    return count


def true_normals(
    images: ShardReader, photo: str, fit: pd.Series, factor: float, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """True unit normals [side,side,3] in a fit's window, and where they are known; `factor`: the fit's pixels per pixel
    of the truth."""
    centre, half = (fit["centre_x"] / factor, fit["centre_y"] / factor), fit["half"] / factor
    mask = window(images.image(f"{photo}-mask.png"), centre, half, side, border=0)
    image = window(images.image(f"{photo}-normal.png"), centre, half, side, border=255)
    return unit(image.astype(np.float32) / 127.5 - 1), mask > 250


def main() -> None:
    parser = console.parser("ag3d.preprocessing.helpers_training.normal_data", __doc__)
    parser.add_argument("data", type=Path, nargs="+", help="folders of data sets (results/<dataset>) with a truth")
    parser.add_argument("--body", type=Path, required=True, help="the body model that they were made with")
    parser.add_argument("--output", type=Path, required=True, help="file to write (.zip)")
    args = parser.parse_args()
    body = Body.load(args.body)
    record: dict[str, Any] = provenance.record("normal_data", {"folders": [f.name for f in args.data]}, [args.body])
    with torch.no_grad(), write_shard(args.output, record) as output:
        count = sum(pack(folder, body, output) for folder in args.data)
        if not count:
            names = ", ".join(map(str, args.data))
            raise UserError(f"nobody in {names} reached the stage aligned; nothing to train on")
    log.info("%d people, %.1f MB", count, args.output.stat().st_size / 1e6)


if __name__ == "__main__":
    console.run(main)
