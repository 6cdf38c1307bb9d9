"""Find people whose crops show the same picture again: copies that were scaled, cut or encoded anew, frames of a video in
which hardly anything moves. Of each group the sharpest stays.

Writes person_id, of (who is shown already), value (how many of the fingerprints' 256 bits differ) of everybody to leave out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ag3d import console, provenance
from ag3d.config.data import Dataset
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.files import write_table
from ag3d.preprocessing.appearance import bits
from ag3d.shards import ShardReader

log = logging.getLogger(__name__)
COLUMNS = {"person_id": "str", "of": "str", "value": "float64"}


def alike(people: dict[str, tuple[str, float]], most: int) -> pd.DataFrame:
    """The table for `people`: identifier to fingerprint and sharpness; those alike differ in at most `most` bits."""
    order = sorted(people, key=lambda name: (-people[name][1], name))
    prints = bits([people[name][0] for name in order])
    kept = np.empty(len(order), np.int64)
    count, rows = 0, []
    for number, name in enumerate(console.progress(order, "comparing", unit="person")):
        apart = np.bitwise_count(prints[kept[:count]] ^ prints[number]).sum(axis=1)
        if count and apart.min() <= most:
            rows.append((name, order[kept[apart.argmin()]], float(apart.min())))
        else:
            kept[count], count = number, count + 1
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
    parser = console.parser("ag3d.preprocessing.alike", __doc__)
    parser.add_argument("--aligned", type=Path, nargs="+", required=True, help="aligned crops, all shards (.zip)")
    parser.add_argument("--normals", type=Path, nargs="+", required=True, help="their normal maps, in the same order")
    parser.add_argument("--output", type=Path, required=True, help="table to write (.parquet)")
    add_options(parser, Dataset)
    args = parser.parse_args()
    settings = from_options(Dataset, args)
    people = read(args.aligned, args.normals)
    table = alike(people, settings.max_alike)
    write_table(args.output, table, provenance.record("alike", to_mapping(settings)))
    log.info("%d people, %d of them shown already", len(people), len(table))


if __name__ == "__main__":
    console.run(main)
