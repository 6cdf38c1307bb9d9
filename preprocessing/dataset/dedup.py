"""Find people whose crops show the same picture again: copies that were scaled, cut or encoded anew, frames of a video in
which hardly anything moves. Of each group the sharpest stays.

Writes person_id, of (who is shown already), value (how many of the hashes' 256 bits differ) of everybody to leave out.
"""

from __future__ import annotations

import logging
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from ag3d.config.data import Dataset
from ag3d.config.settings import to_mapping
from ag3d.core import console, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import read_table, write_table
from ag3d.core.resize import resize
from ag3d.preprocessing import schemas
from ag3d.preprocessing.stage import parse, passed, stage_parser

log = logging.getLogger(__name__)
NARROWEST = 8  # bits of a band, below which comparing all is as quick
CHUNK = 1 << 16  # people whose bands are found at once
SIDE = 256  # pixels at which sharpness is measured, whatever the crop's
REACH = 7  # pixels over which differences are blurred away
BITS = 256


def sharpness(crop: np.ndarray) -> float:
    """What share of the differences between neighbouring pixels a blur would take away, inside the person of `crop`
    (uint8 RGBA): some 0.5 to 0.8 in sharp pictures of whatever content, below 0.25 where details of 2 cm are blurred.

    The idea of Crété et al., "The blur effect", 2007, kept inside the matte, whose edges say nothing about the lens.
    """
    crop = resize(crop, (SIDE, SIDE))
    grey = cv2.cvtColor(np.ascontiguousarray(crop[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.erode((crop[..., 3] > 250).astype(np.uint8), np.ones((REACH + 2, REACH + 2))) > 0
    lost = total = 0.0
    for axis, window, where in ((0, (1, REACH), inside[1:]), (1, (REACH, 1), inside[:, 1:])):
        sharp, blurred = (np.abs(np.diff(image, axis=axis))[where] for image in (grey, cv2.blur(grey, window)))
        lost += float(np.maximum(0, sharp - blurred).sum())
        total += float(sharp.sum())
    return lost / total if total else 1.0  # a flat picture has nothing to blur


def phash(crop: np.ndarray) -> str:
    """64 hexadecimal digits: the signs of the picture's coarse waves (a perceptual hash). Of copies that were encoded
    again, scaled or cut, some 10 of its 256 bits differ; of different people 32 and more."""
    share = crop[..., 3:].astype(np.float32) / 255
    white = np.rint(crop[..., :3] * share + 255 * (1 - share)).astype(np.uint8)
    grey = resize(cv2.cvtColor(white, cv2.COLOR_RGB2GRAY), (64, 64)).astype(np.float32)
    waves = cv2.dct(grey)[:16, :16].ravel()
    waves[0] = np.median(waves[1:])  # the brightness says nothing
    return np.packbits(waves > np.median(waves[1:])).tobytes().hex()


def bits(hashes: list[str]) -> np.ndarray:
    """uint64 [N,4] of N hashes."""
    return np.frombuffer(bytes.fromhex("".join(hashes)), np.uint64).reshape(-1, BITS // 64)


class PhashIndex:
    """Hashes of those who stay, found again by what near ones share: if at most `max_hamming` bits differ, then of
    `max_hamming` + 1 bands of bits at least one is the same. So only those with a common band are compared, and a million
    people take minutes.
    """

    def __init__(self, hashes: np.ndarray, max_hamming: int) -> None:
        """`hashes`: uint64 [N,4] of everybody, in the order in which they come."""
        self.hashes, self.max_hamming = hashes, max_hamming
        self.number = max(1, max_hamming + 1)
        self.width = min(16, BITS // self.number)  # bits
        if self.width < NARROWEST:  # nearly all would share a band: one without bits, which all share
            self.number, self.width = 1, 0
        self.buckets: list[dict[int, array[int]]] = [{} for _ in range(self.number)]

    def bands(self) -> Iterator[list[int]]:
        """The bands of everybody in turn. Bits are dealt out, so that coarse and fine waves are in each."""
        weights = 1 << np.arange(self.width)
        for start in range(0, len(self.hashes), CHUNK):
            chosen = np.ascontiguousarray(self.hashes[start : start + CHUNK]).view(np.uint8).reshape(-1, BITS // 8)
            unpacked = np.unpackbits(chosen, axis=1)[:, : self.width * self.number]
            unpacked = unpacked.reshape(len(chosen), self.width, self.number)
            yield from (unpacked.astype(np.int64) * weights[:, None]).sum(axis=1).tolist()

    def nearest(self, number: int, bands: list[int]) -> tuple[int, int] | None:
        """Whom number `number` is alike, the first of the nearest, and the bits that differ; None where there is nobody."""
        candidates = [bucket[band] for bucket, band in zip(self.buckets, bands, strict=True) if band in bucket]
        if not candidates:
            return None
        others = np.concatenate([np.frombuffer(numbers, np.uint32) for numbers in candidates])
        distances = np.bitwise_count(self.hashes[others] ^ self.hashes[number]).sum(axis=1)
        least = int(distances.min())
        return (int(others[distances == least].min()), least) if least <= self.max_hamming else None

    def add(self, number: int, bands: list[int]) -> None:
        for bucket, band in zip(self.buckets, bands, strict=True):
            bucket.setdefault(band, array("I")).append(number)


def find_duplicates(people: dict[str, tuple[str, float]], max_hamming: int) -> pd.DataFrame:
    """The table for `people`: identifier to hash and sharpness; copies differ in at most `max_hamming` bits."""
    order = sorted(people, key=lambda name: (-people[name][1], name))
    index = PhashIndex(bits([people[name][0] for name in order]), max_hamming)
    rows = []
    for number, bands in enumerate(console.progress(index.bands(), "comparing", total=len(order), unit="person")):
        if (match := index.nearest(number, bands)) is None:
            index.add(number, bands)
        else:
            rows.append((order[number], order[match[0]], float(match[1])))
    return pd.DataFrame(sorted(rows), columns=schemas.ALIKE.names)


def read_people(aligned: Sequence[Path], normals: Sequence[Path]) -> dict[str, tuple[str, float]]:
    """Hash and sharpness of everybody whose crop and normals are ok."""
    people: dict[str, tuple[str, float]] = {}
    for crops, maps in zip(aligned, normals, strict=True):
        with_normals = {row["person_id"] for row in passed(read_table(maps, schemas.NORMALS))}
        for row in passed(read_table(crops, schemas.ALIGNED)):
            if not re.fullmatch(rf"[0-9a-f]{{{BITS // 4}}}", str(row["phash"])) or not math.isfinite(row["sharpness"]):
                raise UserError(f"{crops}: {row['person_id']} has no hash or sharpness; delete the table and run again")
            if row["person_id"] in with_normals:
                people[row["person_id"]] = (row["phash"], row["sharpness"])
    return people


def main() -> None:
    paths = {
        "aligned +": "tables of the aligned crops, all shards (.parquet)",
        "normals +": "tables of their normal maps, in the same order",
        "output": "table to write (.parquet)",
    }
    args, settings = parse(stage_parser("dataset.dedup", __doc__, paths), Dataset)
    people = read_people(args.aligned, args.normals)
    table = find_duplicates(people, settings.dedup_max_hamming)
    write_table(args.output, table, provenance.record("dedup", to_mapping(settings)), schemas.ALIKE)
    log.info("%d people, %d of them shown already", len(people), len(table))


if __name__ == "__main__":
    console.run(main)
