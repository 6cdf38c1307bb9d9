"""Which photographs and videos a folder holds, how they are named, to which shard each belongs, and which are exact copies.

Names and sizes only, but for the copies, which are found by reading as little as possible. The workflow calls this each
time it starts, so that adding or changing a photograph runs its shard again and no other. Millions of photographs are too
many to list at every start and in every job: their listing can be kept, a folder with a table a shard (its files, and those
elsewhere that may be copies of them) and scan.json, which is written last and tells the shards' fingerprints. Delete it to
look for new photographs.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ag3d.core.bounded import open_regular
from ag3d.core.errors import UserError
from ag3d.core.files import read_json, read_table, sha256, write_json, write_table
from ag3d.preprocessing import schemas
from ag3d.preprocessing.photos import read_image, video

log = logging.getLogger(__name__)
IMAGE_SUFFIXES = read_image.SUFFIXES | read_image.RAW_SUFFIXES
SUFFIXES = IMAGE_SUFFIXES | video.SUFFIXES
RECORD = "scan.json"
_PROBE = 4096  # bytes


@dataclass(frozen=True)
class Entry:
    """A file of the folder. `path` is relative, with forward slashes."""

    path: str
    size: int
    modified: int  # nanoseconds

    @property
    def photo_id(self) -> str:
        return photo_id(self.path)


def photo_id(path: str) -> str:
    """A name for the photograph at the relative `path`: readable, safe in every file system, unique by its hash.

    It never contains 'img': in a data set of AG3D's layout every 'img' of a path becomes 'normal'.
    """
    normal = unicodedata.normalize("NFC", path)
    plain = unicodedata.normalize("NFKD", Path(normal).stem).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:48]
    slug = re.sub("img", "im", slug, flags=re.IGNORECASE) or "photo"
    return f"{slug}-{hashlib.sha1(normal.encode(errors='surrogateescape')).hexdigest()[:8]}"


def frame_id(video: str, frame: int) -> str:
    """The name of a frame of the video with the name `video`: who is in it can be told from the name."""
    return f"{video}-f{frame:06d}"


def shard_of(photo: str, shards: int) -> int:
    """The shard of a photograph or video by its name: it depends on nothing but the name and the number of shards."""
    return int(hashlib.sha1(photo.encode()).hexdigest(), 16) % shards


def list_photos(folder: str | os.PathLike[str]) -> list[Entry]:
    """Every photograph and video below `folder`, by path. Hidden files and folders are passed over.

    Raises UserError where there is no such folder or nothing of that kind in it.
    """
    root = _root(folder)
    entries = sorted((entry for entry in _walk(str(root), "") if _is_photo(entry.path)), key=lambda entry: entry.path)
    if not entries:
        raise UserError(f"no photographs in {root}; supported: {', '.join(sorted(SUFFIXES))}")
    return entries


def other_suffixes(folder: str | os.PathLike[str]) -> dict[str, int]:
    """How many files that are no photographs the folder holds, by suffix."""
    others = (os.path.splitext(e.path)[1].lower() for e in _walk(str(_root(folder)), "") if not _is_photo(e.path))
    return dict(Counter(suffix or "without a suffix" for suffix in others))


def _root(folder: str | os.PathLike[str]) -> Path:
    root = Path(folder).expanduser()
    if not root.exists():
        raise UserError(f"the folder of photographs {root} does not exist; check 'photos.path' in the configuration")
    if not root.is_dir():
        raise UserError(f"{root} is a file; 'photos.path' must name the folder that holds the photographs")
    return root


def _is_photo(path: str) -> bool:
    return os.path.splitext(path)[1].lower() in SUFFIXES


def same_size_groups(entries: list[Entry]) -> dict[int, list[Entry]]:
    """Entries by size, where several share one: only these can be exact duplicates."""
    sizes: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        sizes[entry.size].append(entry)
    return {size: group for size, group in sizes.items() if len(group) > 1 and size > 0}


def fingerprints(folder: str | os.PathLike[str], shards: int) -> dict[int, str]:
    """A hash per shard over names, sizes and dates of its files, and of files elsewhere that may be their duplicates."""
    entries = list_photos(folder)
    return _fingerprints(entries, same_size_groups(entries), _shard_by_path(entries, shards), shards)


def _shard_by_path(entries: list[Entry], shards: int) -> dict[str, int]:
    return {entry.path: shard_of(entry.photo_id, shards) for entry in entries}


def _fingerprints(
    entries: list[Entry], same_size: dict[int, list[Entry]], shard_by_path: dict[str, int], shards: int
) -> dict[int, str]:
    hashes = {number: hashlib.sha1() for number in range(shards)}
    for entry in entries:
        shard = hashes[shard_by_path[entry.path]]
        for other in (entry, *same_size.get(entry.size, ())):
            shard.update(f"{other.path}\0{other.size}\0{other.modified}\n".encode(errors="surrogateescape"))
    return {number: shard.hexdigest()[:16] for number, shard in hashes.items()}


def _walk(root: str, prefix: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Entry]:
    """Every file that is not hidden. Links are followed, except back to a folder that is being walked."""
    folder = os.path.join(root, prefix)
    try:
        status = os.stat(folder)
        items = list(os.scandir(folder))
    except PermissionError as error:
        raise UserError(f"no permission to list the folder {folder}: allow it, or move the folder elsewhere") from error
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    for item in items:
        if item.name.startswith("."):
            continue
        path = f"{prefix}/{item.name}" if prefix else item.name
        try:
            if item.is_dir():
                yield from _walk(root, path, (*above, identity))
                continue
            status = item.stat()
            yield Entry(path, status.st_size, status.st_mtime_ns)
        except OSError:  # a link to nowhere: listed, so that it is rejected by name when it is read
            yield Entry(path, -1, 0)


def cached_fingerprints(folder: str | os.PathLike[str], shards: int, cache: Path) -> dict[int, str]:
    """The shards' fingerprints by the listing in `cache`, which is made if it is not there."""
    if not (cache / RECORD).exists():
        cache_listing(folder, shards, cache)
    listing = read_json(cache / RECORD)
    expected = {"folder": os.path.abspath(os.path.expanduser(folder)), "shards": shards}
    if not isinstance(listing, dict) or {name: listing.get(name) for name in expected} != expected:
        raise UserError(f"{cache} holds the listing of another folder or number of shards; delete it to list anew")
    prints = listing.get("fingerprints")
    if not isinstance(prints, dict) or {str(number) for number in range(shards)} != prints.keys():
        raise UserError(f"{cache / RECORD} is damaged; delete {cache} to list anew")
    return {int(number): str(value) for number, value in prints.items()}


def cache_listing(folder: str | os.PathLike[str], shards: int, cache: Path) -> None:
    """List the folder into `cache`."""
    log.warning("listing the photographs of %s once; this takes a minute or two a million", folder)
    entries = list_photos(folder)
    same_size = same_size_groups(entries)
    shard_by_path = _shard_by_path(entries, shards)
    own: dict[int, list[Entry]] = defaultdict(list)
    possible_copies: dict[int, dict[str, Entry]] = defaultdict(dict)
    for entry in entries:
        own[shard_by_path[entry.path]].append(entry)
    for group in same_size.values():
        for shard in {shard_by_path[entry.path] for entry in group}:
            outside = {entry.path: entry for entry in group if shard_by_path[entry.path] != shard}
            possible_copies[shard].update(outside)
    for shard in range(shards):
        files = [*own[shard], *possible_copies[shard].values()]
        rows = [(os.fsencode(entry.path), entry.size, entry.modified) for entry in files]
        table = pd.DataFrame(rows, columns=schemas.LISTING.names)
        write_table(listing_table(cache, shard), table, {"stage": "scan"}, schemas.LISTING)
    prints = _fingerprints(entries, same_size, shard_by_path, shards)
    root = os.path.abspath(os.path.expanduser(folder))
    write_json(cache / RECORD, {"folder": root, "shards": shards, "number": len(entries), "fingerprints": prints})


def listing_table(cache: Path, shard: int) -> Path:
    return cache / f"{shard:05d}.parquet"


def read_listing(path: Path) -> list[Entry]:
    """The entries of a shard's table, by path."""
    table = read_table(path, schemas.LISTING)
    if table.isna().any(axis=None):
        raise UserError(f"{path} has rows without a name, size or date; delete it and run again")
    rows = zip(table["path"], table["size"], table["modified"], strict=True)
    return sorted((Entry(os.fsdecode(name), int(size), int(when)) for name, size, when in rows), key=lambda e: e.path)


def byte_duplicates(folder: str | os.PathLike[str], entries: list[Entry], wanted: Iterable[str]) -> dict[str, str]:
    """For those paths of `wanted` that are a copy of an earlier file (by path) of `entries`: the first such file."""
    root, chosen = Path(folder), set(wanted)
    first_copy: dict[str, str] = {}
    for group in same_size_groups(entries).values():
        if not any(entry.path in chosen for entry in group):
            continue
        for same_probe in _group_by(group, lambda entry: _probe(root / entry.path, entry.size)):
            for same_bytes in _group_by(same_probe, lambda entry: sha256(root / entry.path)):
                first = same_bytes[0].path
                first_copy.update({entry.path: first for entry in same_bytes[1:] if entry.path in chosen})
    return first_copy


def _group_by(entries: list[Entry], key: Callable[[Entry], str]) -> list[list[Entry]]:
    """Those that share a key, in order of path; files that cannot be read have none."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.path):
        try:
            groups[key(entry)].append(entry)
        except (OSError, UserError):
            continue
    return [group for group in groups.values() if len(group) > 1]


def _probe(path: Path, size: int) -> str:
    """A hash of the file's beginning, middle and end: differs for nearly all files that differ."""
    digest = hashlib.sha1()
    with open_regular(path) as handle:
        for offset in (0, size // 2, max(0, size - _PROBE)):
            handle.seek(offset)
            digest.update(handle.read(_PROBE))
    return digest.hexdigest()
