"""A folder's listing, made once and kept: millions of photographs are too many to list at every start and in every job.

The kept listing is a folder: a table a shard (its files, and those elsewhere that may be copies of them), and scan.json, which is
written last and tells the shards' fingerprints. Delete the folder to look for new photographs.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path

import pandas as pd

from ag3d.core.errors import UserError
from ag3d.core.files import read_json, read_table, write_json, write_table
from ag3d.preprocessing.photos.photo_index import Entry, fingerprints_of, list_photos, shard_of, twins

log = logging.getLogger(__name__)
RECORD = "scan.json"


def kept_fingerprints(folder: str | os.PathLike[str], shards: int, place: Path) -> dict[int, str]:
    """The shards' fingerprints by the listing in `place`, which is made if it is not there."""
    if not (place / RECORD).exists():
        scan(folder, shards, place)
    found = read_json(place / RECORD)
    expected = {"folder": os.path.abspath(os.path.expanduser(folder)), "shards": shards}
    if not isinstance(found, dict) or {name: found.get(name) for name in expected} != expected:
        raise UserError(f"{place} holds the listing of another folder or number of shards; delete it to list anew")
    return {int(number): value for number, value in found["fingerprints"].items()}


def scan(folder: str | os.PathLike[str], shards: int, place: Path) -> None:
    """List the folder into `place`."""
    log.warning("listing the photographs of %s once; this takes a minute or two a million", folder)
    entries = list_photos(folder)
    same_size = twins(entries)
    mine: dict[int, list[Entry]] = defaultdict(list)
    others: dict[int, dict[str, Entry]] = defaultdict(dict)
    homes = {entry.path: shard_of(entry.photo_id, shards) for entry in entries}
    for entry in entries:
        mine[homes[entry.path]].append(entry)
    for group in same_size.values():
        for shard in {homes[entry.path] for entry in group}:
            others[shard].update({entry.path: entry for entry in group if homes[entry.path] != shard})
    for shard in range(shards):
        found = [*mine[shard], *others[shard].values()]
        rows = {
            "path": [os.fsencode(entry.path) for entry in found],
            "size": [entry.size for entry in found],
            "modified": [entry.modified for entry in found],
        }
        types = {"path": "object", "size": "int64", "modified": "int64"}
        write_table(table_of(place, shard), pd.DataFrame(rows).astype(types), {"stage": "scan"})
    prints = fingerprints_of(entries, same_size, homes, shards)
    home = os.path.abspath(os.path.expanduser(folder))
    write_json(place / RECORD, {"folder": home, "shards": shards, "number": len(entries), "fingerprints": prints})


def table_of(place: Path, shard: int) -> Path:
    return place / f"{shard:05d}.parquet"


def read_listing(path: Path) -> list[Entry]:
    """The entries of a shard's table, by path."""
    table = read_table(path, {"size": "number", "modified": "number"})
    rows = zip(table["path"], table["size"], table["modified"], strict=True)
    return sorted((Entry(os.fsdecode(name), int(size), int(when)) for name, size, when in rows), key=lambda e: e.path)
