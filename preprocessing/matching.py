"""Which file belongs to which photograph: the one rule of `photos.include`, imported fits, and folders of mattes and normals.

A name and a photograph's path are compared folder by folder from their ends: without endings (`.jpg`, `.PNG`), `\\` being
`/`, both in the Unicode form NFC; everything else must be equal, blanks, underscores, digits and case too. They match where
one is the end of the other: `001.png` and `anna/001.png` are names of `anna/001.jpg`, `ben/001.png` is not.

* A file in a folder of files may lie less deep than its photograph, never deeper. A name on a list or in a file may have
  more folders: it comes from another computer (`C:\\photos\\anna\\001.jpg`).
* Of several photographs a name means the one that has most folders in common, then that of its ending (`a.jpg.png` is made
  of `a.jpg`), then that of just this place. Where several are left, it means none, and this is told.
* A frame of a video goes by its `photo_id`: many frames share the video's path.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from ag3d.core.errors import UserError
from ag3d.preprocessing.photos import video
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.photo_index import SUFFIXES, list_photos

T = TypeVar("T")
Likeness = tuple[int, bool, bool, bool]


def place(name: str) -> tuple[str, ...]:
    """Folders and name of a path as any system writes it."""
    parts: list[str] = []
    for part in unicodedata.normalize("NFC", name).replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return tuple(parts)


def has_ending(name: str) -> bool:
    """Whether a name ends as pictures' and videos' do."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def likeness(name: str, path: str, foreign: bool) -> Likeness | None:
    """How well a name suits the photograph at `path`, the greater the better; None: not at all. `foreign`: it is from another
    computer, where the photograph may have lain deeper."""
    first, second = place(name), place(path)
    if not first or not second or (len(first) > len(second) and not foreign):
        return None
    same_ending = _ending_lowered(first[-1]) == _ending_lowered(second[-1])
    first, second = (*first[:-1], _stem(first[-1])), (*second[:-1], _stem(second[-1]))
    shared = min(len(first), len(second))
    if first[-shared:] != second[-shared:]:
        return None
    return shared, same_ending, first == second, name == path


class NameIndex(Generic[T]):
    """Things that have names, to be found by others' names without looking at each."""

    def __init__(self, items: Iterable[tuple[str, T]]) -> None:
        self._by_end: dict[tuple[str, ...], list[tuple[str, T]]] = defaultdict(list)
        for name, item in items:
            end = _end(name)
            self._by_end[end].append((name, item))
            if len(end) == 2:  # for names without a folder: thousands of folders may hold files of one name
                self._by_end["", *end[1:]].append((name, item))

    def best(self, other: str, score: Callable[[str, T], Likeness | None]) -> list[T]:
        """Those of the highest score among all that can suit the name `other`."""
        end = _end(other)
        ends = (end, end[1:]) if len(end) == 2 else (end, ("", *end))
        scores = [(score(name, item), item) for key in ends for name, item in self._by_end.get(key, ())]
        known = [(value, item) for value, item in scores if value is not None]
        highest = max((value for value, _ in known), default=None)
        return [item for value, item in known if value == highest]


class Photographs:
    """The photographs of a folder by their names."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._index = NameIndex((path, path) for path in dict.fromkeys(paths))

    @classmethod
    def of(cls, manifest: Manifest) -> Photographs:
        """All of the folder, not only the manifest's own: a file may belong to a photograph of another shard."""
        table = manifest.table
        listed = [entry.path for entry in list_photos(manifest.folder)] if len(table) else []
        return cls([*listed, *table["path"], *table.loc[table["frame"] >= 0, "photo_id"]])

    def named(self, name: str, foreign: bool = False) -> list[str]:
        """The paths that a name means: one, none, or several between which it does not decide."""
        return self._index.best(name, lambda path, _: likeness(name, path, foreign))


class NamedFiles:
    """The pictures in a folder, each made of the photograph of its name."""

    def __init__(self, root: Path, endings: Collection[str], photographs: Photographs | None = None) -> None:
        """`endings` in order: the first is taken where a name is there twice. Without `photographs`, those that are asked
        for are all that there are. Raises UserError where a folder may not be listed."""
        self.root = root
        self._photographs = photographs
        self._order = list(endings)
        names = files_below(root, endings)
        self._index = NameIndex((os.path.splitext(name)[0], name) for name in names)

    def of(self, path: str) -> Path | None:
        """The file that was made of the photograph at `path`; None where there is none. Raises ValueError where the names do
        not decide."""
        found = self._index.best(path, lambda name, _: likeness(name, path, foreign=False))
        if not found:
            return None
        file = min(found, key=lambda name: (self._order.index(os.path.splitext(name)[1].lower()), name))
        name = os.path.splitext(file)[0]
        meant = [path] if self._photographs is None else self._photographs.named(name)
        if meant == [path]:
            return self.root / file
        if path in meant:
            others = ", ".join(other for other in meant if other != path)
            raise ValueError(
                f"{file} may be of {others} as well; give it the photograph's folder and ending: {path}.png"
            )
        return None


def files_below(root: Path, endings: Collection[str]) -> list[str]:
    """The files below `root` whose names end so, in any case, relative and in order; links to folders are followed once.
    Hidden files are passed over. Raises UserError where a folder may not be listed."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be listed: {error.strerror}; allow it, or move the folder elsewhere")

    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, onerror=refuse, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below[:] = sorted(name for name in below if not name.startswith("."))
        inside = os.path.relpath(folder, root)
        for name in names:
            if os.path.splitext(name)[1].lower() in endings and not name.startswith("."):
                found.append(name if inside == "." else f"{inside}/{name}")
    return sorted(found)


def name_of(path: str, photo_id: str) -> str:
    """What a photograph goes by: its path; of a frame of a video its `photo_id`."""
    return photo_id if video.is_video(path) else path


def some(names: Collection[str], most: int = 5) -> str:
    """The first of them, for a message."""
    return ", ".join(list(names)[:most]) + (" …" if len(names) > most else "")


def _stem(last: str) -> str:
    """A file's name without the ending of a picture."""
    return os.path.splitext(last)[0] if has_ending(last) else last


def _end(name: str) -> tuple[str, ...]:
    """Its folder, if it has one, and its name without the ending."""
    parts = place(name)
    return (*parts[-2:-1], _stem(parts[-1])) if parts else ("",)


def _ending_lowered(last: str) -> str:
    stem, ending = os.path.splitext(last)
    return stem + ending.lower()
