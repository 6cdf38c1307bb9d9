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
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ag3d.config.data import Photos
from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.core.shards import shard_files
from ag3d.preprocessing import schemas
from ag3d.preprocessing.photos import video
from ag3d.preprocessing.photos.manifest import recorded_folder
from ag3d.preprocessing.photos.photo_index import (
    Entry,
    byte_duplicates,
    frame_id,
    list_photos,
    other_suffixes,
    read_listing,
    shard_of,
)
from ag3d.preprocessing.photos.read_image import Photo, PhotoError, file_hash, read_photo
from ag3d.preprocessing.photos.source_check import select_listed
from ag3d.preprocessing.stage import OK, Row, Verdict, parse, run_stage, stage_parser

log = logging.getLogger(__name__)


def photos_of_shard(folder: str | Path, shard: int, settings: Photos, listing: Path | None = None) -> Iterator[Row]:
    """Rows of shard number `shard`. `listing`: a kept one (see photo_index). Raises UserError about the folder; never about
    a file in it."""
    root = Path(folder).expanduser()
    entries, everything = list_photos(root) if listing is None else read_listing(listing), []
    if settings.include and listing is not None:
        everything = [entry for table in shard_files(listing.parent, ".parquet") for entry in read_listing(table)]
    entries = select_listed(entries, settings.include, everything)
    of_shard = [entry for entry in entries if shard_of(entry.photo_id, settings.shards) == shard]
    copies = byte_duplicates(root, entries, [entry.path for entry in of_shard])
    path_by_id: dict[str, str] = {}
    count = 0
    for entry in console.progress(of_shard, "photographs", unit="photo"):
        copy_of = copies.get(entry.path)
        if entry.photo_id in path_by_id:  # one name in two Unicode forms
            reason = f"its name differs from {path_by_id[entry.photo_id]} in Unicode form only; rename it"
            rows = [_unread(entry) | {"photo_id": f"{entry.photo_id}-{count}"} | vars(Verdict.rejected(reason))]
        elif video.is_video(entry.path):
            rows = video_rows(root, entry, copy_of, settings)
        else:
            rows = [photo_row(root, entry, copy_of, settings)]
        path_by_id.setdefault(entry.photo_id, rows[0]["path"])
        count += len(rows)
        yield from rows


def photo_row(root: Path, entry: Entry, copy_of: str | None, settings: Photos) -> Row:
    """The row of one file; `copy_of`: the path of the file that it repeats."""
    row = _unread(entry)
    try:
        _check(root, entry, copy_of, row)
        return row | _sizes(read_photo(root / entry.path, settings.max_pixels, settings.min_side))
    except PhotoError as error:
        return row | vars(Verdict.unreadable(error))


def video_rows(root: Path, entry: Entry, copy_of: str | None, settings: Photos) -> list[Row]:
    """A row for each frame taken of a video; one row where it cannot be used."""
    rows: list[Row] = []
    unread = _unread(entry)
    try:
        _check(root, entry, copy_of, unread)
        sampled = video.sampled_frames(root / entry.path, settings.frame_stride, settings.frames_per_second)
        for number, rgb in sampled:
            sizes = _sizes(Photo.of_frame(rgb, settings.max_pixels, settings.min_side))
            rows.append(unread | sizes | {"photo_id": frame_id(entry.photo_id, number), "frame": number})
    except PhotoError as error:
        return [unread | vars(Verdict.unreadable(error))]
    return rows


def _unread(entry: Entry) -> Row:
    """A row of what is not yet known to be readable."""
    row: Row = {"photo_id": entry.photo_id, "path": _printable(entry.path), "sha256": "", "frame": -1}
    return row | {"width": 0, "height": 0, "scale": 1.0, **vars(OK)}


def _sizes(photo: Photo) -> Row:
    height, width = photo.rgb.shape[:2]
    return {"width": width, "height": height, "scale": photo.scale}


def _check(root: Path, entry: Entry, copy_of: str | None, row: Row) -> None:
    """Put the file's hash into its row. Raises PhotoError where its name or the file will not do."""
    if _printable(entry.path) != entry.path:
        raise PhotoError("its name is not valid Unicode; rename it")
    row["sha256"] = file_hash(root / entry.path)
    if copy_of is not None:
        raise PhotoError(f"duplicate of {_printable(copy_of)}")


def _printable(path: str) -> str:
    """The path as text that every table can hold: bytes that are not Unicode are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def main() -> None:
    paths = {"output": "manifest to write (.parquet)"}
    parser = stage_parser("photos", __doc__, paths)
    parser.add_argument("--input", required=True, help="folder of photographs, searched with its sub-folders")
    parser.add_argument("--shard", type=int, required=True, help="number of the shard to list, from 0")
    parser.add_argument("--listing", type=Path, help="a kept listing of this shard (.parquet), to list no folder")
    args, settings = parse(parser, Photos)
    if not 0 <= args.shard < settings.shards:
        raise UserError(f"--shard is {args.shard}; with {settings.shards} shards it must be 0 to {settings.shards - 1}")
    process = partial(photos_of_shard, args.input, args.shard, settings, args.listing)
    folder = recorded_folder(args.input, args.output)
    run_stage("photos", settings, [], args.output, schemas.PHOTOS, process, folder=folder)
    if args.listing is None and (others := other_suffixes(args.input)):
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        log.info("files of other kinds in the folder, passed over: %s", kinds)
