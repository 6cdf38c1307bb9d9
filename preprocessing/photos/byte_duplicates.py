"""Exact copies among the files of a folder, found by reading as little as possible."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ag3d.core.files import sha256
from ag3d.preprocessing.photos.photo_index import Entry, twins

_PROBE = 4096


def duplicates(folder: str | os.PathLike[str], entries: list[Entry], wanted: Iterable[str]) -> dict[str, str]:
    """For those paths of `wanted` that are a copy of an earlier file (by path) of `entries`: the first such file."""
    root, chosen = Path(folder), set(wanted)
    found: dict[str, str] = {}
    for group in twins(entries).values():
        if not any(entry.path in chosen for entry in group):
            continue
        for alike in _groups(group, lambda entry: _probe(root / entry.path, entry.size)):
            for same in _groups(alike, lambda entry: sha256(root / entry.path)):
                found.update({entry.path: same[0].path for entry in same[1:] if entry.path in chosen})
    return found


def _groups(entries: list[Entry], key) -> list[list[Entry]]:
    """Those that share a key, in order of path; files that cannot be read have none."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.path):
        try:
            groups[key(entry)].append(entry)
        except OSError:
            continue
    return [group for group in groups.values() if len(group) > 1]


def _probe(path: Path, size: int) -> str:
    """A hash of a few places of the file: differs for nearly all files that differ."""
    digest = hashlib.sha1()
    with open(path, "rb") as handle:
        for place in (0, size // 2, max(0, size - _PROBE)):
            handle.seek(place)
            digest.update(handle.read(_PROBE))
    return digest.hexdigest()
