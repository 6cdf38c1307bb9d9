"""Which photographs and videos a folder holds, how they are named, and to which shard each belongs.

Names and sizes only; no photograph is opened. The workflow calls this each time it starts, so that adding or changing
a photograph runs its shard again and no other.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ag3d.core.errors import UserError
from ag3d.preprocessing.photos import video

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".avif"})
BOTH = SUFFIXES | video.SUFFIXES


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
        raise UserError(f"no photographs in {root}; supported: {', '.join(sorted(BOTH))}")
    return entries


def ignored(folder: str | os.PathLike[str]) -> dict[str, int]:
    """How many files of each other suffix the folder holds."""
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
    return os.path.splitext(path)[1].lower() in BOTH


def twins(entries: list[Entry]) -> dict[int, list[Entry]]:
    """Entries by size, where several share one: only these can be exact duplicates."""
    sizes: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        sizes[entry.size].append(entry)
    return {size: group for size, group in sizes.items() if len(group) > 1 and size > 0}


def fingerprints(folder: str | os.PathLike[str], shards: int) -> dict[int, str]:
    """A hash per shard over names, sizes and dates of its files, and of files elsewhere that may be their duplicates."""
    entries = list_photos(folder)
    homes = {entry.path: shard_of(entry.photo_id, shards) for entry in entries}
    return fingerprints_of(entries, twins(entries), homes, shards)


def fingerprints_of(
    entries: list[Entry], same_size: dict[int, list[Entry]], homes: dict[str, int], shards: int
) -> dict[int, str]:
    """`same_size`: of `twins`; `homes`: each path's shard."""
    hashes = {number: hashlib.sha1() for number in range(shards)}
    for entry in entries:
        shard = hashes[homes[entry.path]]
        for other in (entry, *same_size.get(entry.size, ())):
            shard.update(f"{other.path}\0{other.size}\0{other.modified}\n".encode(errors="surrogateescape"))
    return {number: shard.hexdigest()[:16] for number, shard in hashes.items()}


def _walk(root: str, prefix: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Entry]:
    """Every file that is not hidden. Links are followed, except back to a folder that is being walked."""
    place = os.path.join(root, prefix)
    try:
        status = os.stat(place)
        items = list(os.scandir(place))
    except PermissionError as error:
        raise UserError(f"no permission to list the folder {place}: allow it, or move the folder elsewhere") from error
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
