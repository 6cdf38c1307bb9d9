"""Find people whose crops show the same picture again: copies that were scaled, cut or encoded anew, frames of a video in
which hardly anything moves. Of each group the sharpest stays.

Writes person_id, of (who is shown already), value (how many of the fingerprints' 256 bits differ) of everybody to leave out.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ag3d.config.data import Dataset
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader
from ag3d.preprocessing.dataset.phash import BITS, bits

log = logging.getLogger(__name__)
NARROWEST = 8  # bits of a band, below which comparing all is as quick
CHUNK = 1 << 16  # people whose bands are found at once
COLUMNS = {"person_id": "str", "of": "str", "value": "float64"}


class Kept:
    """Fingerprints of those who stay, found again by what alike ones share: if at most `most` bits differ, then of `most` + 1
    bands of bits at least one is the same. So only those with a common band are compared, and a million people take minutes.
    """

    def __init__(self, prints: np.ndarray, most: int) -> None:
        """`prints`: uint64 [N,4] of everybody, in the order in which they come."""
        self.prints, self.most = prints, most
        self.number = max(1, most + 1)
        self.width = min(16, BITS // self.number)  # bits
        if self.width < NARROWEST:  # nearly all would share a band: one without bits, which all share
            self.number, self.width = 1, 0
        self.places: list[dict[int, array[int]]] = [{} for _ in range(self.number)]

    def bands(self) -> Iterator[list[int]]:
        """The bands of everybody in turn. Bits are dealt out, so that coarse and fine waves are in each."""
        weights = 1 << np.arange(self.width)
        for start in range(0, len(self.prints), CHUNK):
            chosen = np.ascontiguousarray(self.prints[start : start + CHUNK]).view(np.uint8).reshape(-1, BITS // 8)
            spread = np.unpackbits(chosen, axis=1)[:, : self.width * self.number]
            spread = spread.reshape(len(chosen), self.width, self.number)
            yield from (spread.astype(np.int64) * weights[:, None]).sum(axis=1).tolist()

    def nearest(self, number: int, bands: list[int]) -> tuple[int, int] | None:
        """Whom number `number` is alike, the first of the nearest, and the bits that differ; None where there is nobody."""
        found = [place[band] for place, band in zip(self.places, bands, strict=True) if band in place]
        if not found:
            return None
        others = np.concatenate([np.frombuffer(some, np.uint32) for some in found])
        apart = np.bitwise_count(self.prints[others] ^ self.prints[number]).sum(axis=1)
        least = int(apart.min())
        return (int(others[apart == least].min()), least) if least <= self.most else None

    def add(self, number: int, bands: list[int]) -> None:
        for place, band in zip(self.places, bands, strict=True):
            place.setdefault(band, array("I")).append(number)


def alike(people: dict[str, tuple[str, float]], most: int) -> pd.DataFrame:
    """The table for `people`: identifier to fingerprint and sharpness; those alike differ in at most `most` bits."""
    order = sorted(people, key=lambda name: (-people[name][1], name))
    kept = Kept(bits([people[name][0] for name in order]), most)
    rows = []
    for number, bands in enumerate(console.progress(kept.bands(), "comparing", total=len(order), unit="person")):
        if (found := kept.nearest(number, bands)) is None:
            kept.add(number, bands)
        else:
            rows.append((order[number], order[found[0]], float(found[1])))
    return pd.DataFrame(sorted(rows), columns=list(COLUMNS)).astype(COLUMNS)


def read(aligned: Sequence[Path], normals: Sequence[Path]) -> dict[str, tuple[str, float]]:
    """Fingerprint and sharpness of everybody whose crop and normals are ok."""
    found: dict[str, tuple[str, float]] = {}
    for crop, normal in zip(aligned, normals, strict=True):
        status = ShardReader(normal).json("status.json")
        for name, entry in ShardReader(crop).json("status.json").items():
            if entry["status"] == "ok" and status.get(name, {}).get("status") == "ok":
                found[name] = (entry["fingerprint"], entry["sharpness"])
    return found


def main() -> None:
    parser = console.parser("ag3d.preprocessing.dataset.dedup", __doc__)
    parser.add_argument("--aligned", type=Path, nargs="+", required=True, help="aligned crops, all shards (.zip)")
    parser.add_argument("--normals", type=Path, nargs="+", required=True, help="their normal maps, in the same order")
    parser.add_argument("--output", type=Path, required=True, help="table to write (.parquet)")
    add_options(parser, Dataset)
    args = parser.parse_args()
    settings = from_options(Dataset, args)
    people = read(args.aligned, args.normals)
    table = alike(people, settings.dedup_max_hamming)
    write_table(args.output, table, provenance.record("alike", to_mapping(settings)))
    log.info("%d people, %d of them shown already", len(people), len(table))


if __name__ == "__main__":
    console.run(main)
