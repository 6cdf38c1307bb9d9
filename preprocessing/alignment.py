"""Cut each fitted person's window out of the photograph: a square RGBA crop at scale 1, with its label.

Writes a zip per shard with `<person_id>.png` (RGBA; colour from the photograph, alpha from the matte, white where alpha is
zero: that takes a third of the bytes and of the decoding) of everybody who is ok, and beside it a table of everybody fitted:

| column | meaning |
| --- | --- |
| person_id, photo_id, path | who |
| label [111] | the numbers of AG3D's label, of those who are ok |
| sharpness, phash | of the crop (ag3d.preprocessing.dataset.dedup) |
| status, reason, value | ok; or rejected, why, and the measured value |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from ag3d.config.data import Alignment
from ag3d.core import console
from ag3d.core.files import read_table
from ag3d.core.shards import ShardReader, ShardWriter
from ag3d.model.body import label as labels
from ag3d.preprocessing import schemas
from ag3d.preprocessing.dataset.dedup import phash, sharpness
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import PhotoError
from ag3d.preprocessing.stage import OK, Row, Verdict, parse, passed, person_of, run_stage, stage_parser

MIN_ALPHA = 0.01  # share of the crop that must be person


def label(fit: Mapping[str, Any] | pd.Series) -> list[float]:
    """The 111 numbers: cam2world 16, intrinsics 9, scale, transl 3, global_orient 3, body_pose 69, betas 10."""
    columns = ("transl", "global_orient", "body_pose", "betas")
    parts = [torch.from_numpy(np.array(fit[name], np.float32))[None] for name in columns]
    return [float(v) for v in labels.pack(*parts)[0]]


def window(image: np.ndarray, centre: tuple[float, float], half: float, resolution: int, border: int) -> np.ndarray:
    """The square of `image` (uint8 [H,W] or [H,W,C]) around `centre` with half side `half` (pixels; pixel centres at
    k + 0.5), at `resolution`. Reductions are area averages, so nothing aliases; outside is `border`."""
    factor = max(1, math.ceil(2 * half / resolution))
    side = resolution * factor
    step = 2 * half / side
    start = np.asarray(centre, np.float64) - half + step / 2 - 0.5
    matrix = np.array([[step, 0, start[0]], [0, step, start[1]]])
    fine = cv2.warpAffine(
        image,
        matrix,
        (side, side),
        flags=(cv2.INTER_LINEAR if factor > 1 else cv2.INTER_CUBIC) | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(border,) * 4,
    )
    return fine if factor == 1 else cv2.resize(fine, (resolution, resolution), interpolation=cv2.INTER_AREA)


def align(photo: np.ndarray, matte: np.ndarray, fit: Mapping[str, Any] | pd.Series, resolution: int) -> np.ndarray:
    """RGBA uint8 [resolution, resolution, 4]. `matte` [h,w] may be smaller than `photo` [H,W,3].

    Where the matte is soft the photograph mixes person and background; the crop keeps the person's part.
    """
    if matte.shape != photo.shape[:2]:
        matte = cv2.resize(matte, (photo.shape[1], photo.shape[0]), interpolation=cv2.INTER_LINEAR)
    centre, half = (fit["centre_x"], fit["centre_y"]), fit["half"]
    colour = window(photo, centre, half, resolution, border=255)
    alpha = window(matte, centre, half, resolution, border=0)
    return np.dstack([foreground(colour, alpha), alpha])


def foreground(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person's own colours (uint8 [H,W,3]): estimated where `alpha` (uint8 [H,W]) is between 0 and 255, of `image`
    where it is 255, white where it is 0.

    Blur-fusion estimate, one coarse and one fine pass (Forte, "Approximate fast foreground colour estimation", 2021).
    """
    picture, share = image.astype(np.float32), alpha.astype(np.float32)[..., None] / 255
    front, back = picture, picture
    for divisor in (6, 48):
        size = (2 * max(1, len(image) // divisor) + 1,) * 2
        front_mean, back_mean = _mean(front, share, size), _mean(back, 1 - share, size)
        front = front_mean + share * (picture - share * front_mean - (1 - share) * back_mean)
        front, back = front.clip(0, 255), back_mean
    own = np.where(share < 1, np.rint(front), picture)
    return np.where(share > 0, own, 255).astype(np.uint8)


def _mean(image: np.ndarray, share: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Local means of `image`, weighted by `share`."""
    return cv2.blur(image * share, size) / (cv2.blur(share, size)[..., None] + 1e-5)


def align_shard(
    fits: pd.DataFrame,
    read_photo: Callable[[str], np.ndarray],
    mattes: ShardReader,
    settings: Alignment,
    pictures: ShardWriter,
) -> Iterator[Row]:
    """Write the crops of the fits that are ok; a row for each. `read_photo`: photo_id to upright RGB."""
    for fit in console.progress(passed(fits), "aligning", unit="crop"):
        name = f"{fit['person_id']}.png"
        try:
            photo = read_photo(fit["photo_id"])
        except PhotoError as error:
            yield person_of(fit) | vars(Verdict.unreadable(error))
            continue
        crop = align(photo, mattes.image(name), fit, settings.resolution)
        sharp = sharpness(crop)
        verdict = check_crop(crop, sharp, settings)
        row = {"sharpness": round(sharp, 4), "phash": phash(crop)}
        if verdict.ok:
            pictures.add_image(name, crop)
            row["label"] = label(fit)
        yield person_of(fit) | row | vars(verdict)


def check_crop(crop: np.ndarray, sharp: float, settings: Alignment) -> Verdict:
    """Whether a crop (uint8 RGBA) of this sharpness can be used."""
    if (covered := float((crop[..., 3] > 127).mean())) < MIN_ALPHA:
        return Verdict.rejected("the crop holds almost no person (share of pixels)", covered)
    if sharp < settings.min_sharpness:
        return Verdict.rejected("blurred (sharpness)", sharp)
    return OK


def main() -> None:
    paths = {
        "manifest": "manifest of the shard (.parquet)",
        "mattes": "mattes of the shard (.zip)",
        "fits": "table of fits of the shard (.parquet)",
        "output": "crops to write (.zip); their table lies beside them (.parquet)",
    }
    args, settings = parse(stage_parser("alignment", __doc__, paths), Alignment)
    fits, photos, mattes = read_table(args.fits, schemas.FITS), Manifest(args.manifest), ShardReader(args.mattes)
    process = partial(align_shard, fits, lambda name: photos.photo(name).rgb, mattes, settings)
    inputs = [args.manifest, args.mattes, args.fits]
    run_stage("alignment", settings, inputs, args.output, schemas.ALIGNED, process)


if __name__ == "__main__":
    console.run(main)
