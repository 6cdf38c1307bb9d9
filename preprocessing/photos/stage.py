"""List the photographs of one shard of a folder, and frames of its videos: which can be read, at what size, and which are left
out and why.

Writes a row a file:

| column | meaning |
| --- | --- |
| photo_id, path | its name in every later stage; its path in the folder |
| width, height | of the upright photograph as the stages read it (pixels) |
| scale | that size relative to the file's: below 1 where the file is larger than `max_pixels` |
| sha256, frame | of the file; number of the frame in its video, -1 for a photograph |
| status, reason, value | ok; or rejected, why, and the measured value |
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from ag3d.config.data import Photos
from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import sha256, write_table
from ag3d.preprocessing.photos import video
from ag3d.preprocessing.photos.byte_duplicates import duplicates
from ag3d.preprocessing.photos.listing_cache import read_listing
from ag3d.preprocessing.photos.manifest import COLUMNS, recorded_folder
from ag3d.preprocessing.photos.photo_index import Entry, frame_id, ignored, list_photos, shard_of
from ag3d.preprocessing.photos.read_image import Photo, PhotoError, read_photo
from ag3d.preprocessing.photos.source_check import chosen

log = logging.getLogger(__name__)


def manifest(folder: str | Path, shard: int, settings: Photos, listing: Path | None = None) -> pd.DataFrame:
    """The table of shard number `shard`. `listing`: a kept one (see scan). Raises UserError about the folder; never about
    a file in it."""
    root = Path(folder).expanduser()
    entries = chosen(list_photos(root) if listing is None else read_listing(listing), settings.include)
    mine = [entry for entry in entries if shard_of(entry.photo_id, settings.shards) == shard]
    copies = duplicates(root, entries, [entry.path for entry in mine])
    first: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    for entry in console.progress(mine, "photographs", unit="photo"):
        copy_of = copies.get(entry.path)
        if video.is_video(entry.path):
            rows.extend(describe_video(root, entry, copy_of, settings))
            continue
        row = describe(root, entry, copy_of, settings)
        if entry.photo_id in first:  # one name in two Unicode forms
            row |= {"photo_id": f"{entry.photo_id}-{len(rows)}", "status": "rejected", "value": None}
            row["reason"] = f"its name differs from {first[entry.photo_id]} in Unicode form only; rename it"
        first.setdefault(entry.photo_id, row["path"])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def describe(root: Path, entry: Entry, copy_of: str | None, settings: Photos) -> dict[str, Any]:
    """The row of one file; `copy_of`: the path of the file that it repeats."""
    row = _start(entry)
    try:
        _check(root, entry, copy_of, row)
        return row | _sizes(read_photo(root / entry.path, settings.max_pixels, settings.min_side))
    except PhotoError as error:
        return row | {"reason": error.reason, "value": error.value}


def describe_video(root: Path, entry: Entry, copy_of: str | None, settings: Photos) -> list[dict[str, Any]]:
    """A row for each frame taken of a video; one row where it cannot be used."""
    rows: list[dict[str, Any]] = []
    start = _start(entry)
    try:
        _check(root, entry, copy_of, start)
        every = video.step(root / entry.path, settings.frame_stride, settings.frames_per_second)
        for number, rgb in video.frames(root / entry.path, 0, every):
            sizes = _sizes(Photo.of_frame(rgb, settings.max_pixels, settings.min_side))
            name = frame_id(entry.photo_id, number)
            rows.append(start | sizes | {"photo_id": name, "frame": number})
    except PhotoError as error:
        return [start | {"reason": error.reason, "value": error.value}]
    return rows


def _start(entry: Entry) -> dict[str, Any]:
    """A row of what is not yet known to be readable."""
    row: dict[str, Any] = {"photo_id": entry.photo_id, "path": _printable(entry.path), "sha256": "", "frame": -1}
    return row | {"width": 0, "height": 0, "scale": 1.0, "status": "rejected", "reason": "", "value": None}


def _sizes(photo: Photo) -> dict[str, Any]:
    height, width = photo.rgb.shape[:2]
    return {"width": width, "height": height, "scale": photo.scale, "status": "ok"}


def _check(root: Path, entry: Entry, copy_of: str | None, row: dict[str, Any]) -> None:
    """Put the file's hash into its row. Raises PhotoError where its name or the file will not do."""
    if _printable(entry.path) != entry.path:
        raise PhotoError("its name is not valid Unicode; rename it")
    row["sha256"] = _hash(root / entry.path)
    if copy_of is not None:
        raise PhotoError(f"duplicate of {_printable(copy_of)}")


def _hash(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise PhotoError(f"the file cannot be read: {error.strerror}") from error


def _printable(path: str) -> str:
    """The path as text that every table can hold: bytes that are not Unicode are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def main() -> None:
    parser = console.parser("ag3d.preprocessing.photos", __doc__)
    parser.add_argument("--input", required=True, help="folder of photographs, searched with its sub-folders")
    parser.add_argument("--shard", type=int, required=True, help="number of the shard to list, from 0")
    parser.add_argument(
        "--listing", type=Path, help="a kept listing of this shard, instead of listing the folder (.parquet)"
    )
    parser.add_argument("--output", type=Path, required=True, help="manifest to write (.parquet)")
    add_options(parser, Photos)
    args = parser.parse_args()
    settings = from_options(Photos, args)
    if not 0 <= args.shard < settings.shards:
        raise UserError(f"--shard is {args.shard}; with {settings.shards} shards it must be 0 to {settings.shards - 1}")
    table = manifest(args.input, args.shard, settings, args.listing)
    record = provenance.record("photos", to_mapping(settings)) | {"folder": recorded_folder(args.input, args.output)}
    write_table(args.output, table, record)
    _report(table, ignored(args.input) if args.listing is None else {})


def _report(table: pd.DataFrame, others: dict[str, int]) -> None:
    bad = table[table["status"] != "ok"]
    log.info("%d photographs, %d of them left out", len(table), len(bad))
    for reason, count in bad["reason"].value_counts().items():
        log.info("  %d: %s", count, reason)
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        log.info("files of other kinds in the folder, passed over: %s", kinds)
