"""Check that a data set of photographs is as its owners deliver it, and say what is missing.

`deepfashion`: DeepFashion's In-shop Clothes Retrieval, .../MEN/Denim/id_00000089/04_7_additional.jpg. With a list of names
(such as that of the 8,037 full-body photographs that AG3D trained on) every one of them must be there, and only they are used.
`ubcfashion`: UBC Fashion's videos (500 to train, 100 to test), .mp4, in one folder or in train/ and test/; the owners'
text files of addresses serve as lists.

Writes JSON: kind, files (how many are used), listed, folders (how many files each part has).
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from ag3d.config.data import Photos
from ag3d.core import console
from ag3d.core.bounded import parse_json, read_text
from ag3d.core.errors import UserError
from ag3d.core.files import write_json
from ag3d.preprocessing.matching import Photographs, has_ending, place, some
from ag3d.preprocessing.photos import video
from ag3d.preprocessing.photos.photo_index import Entry, list_photos
from ag3d.preprocessing.photos.read_image import PhotoError
from ag3d.preprocessing.stage import parse, stage_parser

log = logging.getLogger(__name__)
LAYOUT = {
    "deepfashion": "…/MEN or WOMEN/<clothes>/id_<number>/<picture>.jpg, from img_highres.zip of the In-shop benchmark",
    "ubcfashion": "….mp4, the videos of the data set's lists",
}
UBC = {"train": 500, "test": 100}
_FLAT = re.compile(r"(WO)?MEN.*id_?\d{8}")  # all in one word, as in AG3D's data sets


def name_key(name: str) -> str:
    """What is the same in all the ways that a photograph is named: as a path, with dashes, in AG3D's data sets."""
    name = unquote(name.strip().strip("\"'")).replace("\\", "/")
    parts = re.sub(r"\.\w{3,4}$", "", name).split("/")
    start = next((k for k, part in enumerate(parts) if part in ("MEN", "WOMEN")), len(parts) - 1)
    joined = re.sub(r"[^a-z0-9]", "", "".join(parts[start:]).lower())
    return re.sub(r"^(img|fashion)+(?=(wo)?men)", "", joined)


@dataclass
class Selection:
    """What a list takes of the photographs, and what it could not."""

    taken: set[str] = field(default_factory=set)  # paths
    names: int = 0  # how many names it has
    missing: list[str] = field(default_factory=list)
    undecided: dict[str, list[str]] = field(default_factory=dict)  # a name to the paths that it may mean
    no_names: list[str] = field(default_factory=list)  # lines


def separated_key(name: str) -> str | None:
    """A name of DeepFashion's, with slashes or dashes, as `MEN/Denim/id_…/04_7_additional`; None: it is none."""
    stem = re.sub(r"\.\w{3,4}$", "", name.replace("\\", "/"))
    found = re.search(r"(?:^|[/_])((?:WO)?MEN)[-/]([^/]+?)[-/](id_\d+)[-/]([^/]+)$", stem)
    return "/".join(found.groups()) if found else None


def listed_names(listing: str) -> list[str]:
    """The lines of a list as they are: a text file with a name or address a line (or in its first column), or the names in the
    dataset.json of a data set. Raises UserError."""
    try:
        text = read_text(listing).removeprefix("\ufeff")
    except UserError as error:
        raise UserError(f"'photos.include': {error}") from error
    if not (re.match(r'\s*\{\s*["}]', text) or listing.lower().endswith(".json")):
        return [line for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    content = parse_json(text, f"'photos.include': {listing}")
    labels = content.get("labels") if isinstance(content, dict) else content
    if isinstance(labels, list):  # pairs of name and label, or names
        labels = [pair[0] if isinstance(pair, list) and pair else pair for pair in labels]
    if not isinstance(labels, dict | list) or not all(isinstance(name, str) for name in labels):
        raise UserError(
            f"'photos.include': {listing} is no data set's dataset.json ({{'labels': mapping or pairs}}) and no list of names"
        )
    return list(labels)


def spellings(line: str) -> list[str]:
    """The names that a line may mean, in order: the whole line, what its quotes hold, its first column."""
    plain = line.strip()
    names = [line, plain]
    if quoted := re.match(r"([\"'])(.+?)\1(?=$|[,;\s])", plain):
        names.append(quoted.group(2))
    columns = [re.split(r"[,;\t]", plain)[0].strip().strip("\"'")]
    if not has_ending(plain):
        columns += [word.strip("\"'") for word in plain.split()[:1]]
    names += [name for name in columns if has_ending(name) or separated_key(name)]
    return list(dict.fromkeys(_without_address(name) for name in names))


def _without_address(name: str) -> str:
    """Of an address the file's name: its folders are a server's."""
    if not re.match(r"[a-z]+://", name):
        return name
    path = unquote(re.split(r"[?#]", name.split("://", 1)[1])[0])
    return path if name.startswith("file:") else path.rsplit("/", maxsplit=1)[-1]


def match_list(paths: Sequence[str], listing: str) -> Selection:
    """What a list says of the photographs at `paths`. Raises UserError where it can be no list."""
    photographs, keys = Photographs(paths), _DeepFashionNames(paths)
    selection = Selection()
    deeper: dict[str, dict[tuple[str, ...], str]] = defaultdict(dict)  # names with more folders than the photograph
    for line in dict.fromkeys(listed_names(listing)):
        names = spellings(line)
        is_name = any(has_ending(name) or separated_key(name) for name in names)
        name, meant = next(((n, found) for n in names if (found := photographs.named(n, foreign=True))), (line, []))
        if line.startswith("#") and line not in meant:
            continue
        if not meant and is_name:
            meant = keys.named(names)
        selection.names += bool(meant) or is_name
        if len(meant) == 1:
            selection.taken.add(meant[0])
            if len(place(name)) > len(place(meant[0])):
                deeper[meant[0]][place(name)] = name
        elif meant:
            selection.undecided[line.strip()] = meant
        else:
            kind = selection.missing if is_name else selection.no_names
            kind.append(next((n for n in names if has_ending(n)), line).strip())
    for path, others in deeper.items():
        if len(others) > 1:  # of one name in several folders, of which the photographs' is unknown
            selection.taken.discard(path)
            selection.undecided |= {name: [path] for name in others.values()}
    if not selection.names:
        raise UserError(f"'photos.include': {listing} names no files; a name a line is expected")
    return selection


class _DeepFashionNames:
    """DeepFashion's photographs by the names that other data sets gave them."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths: dict[str, list[str]] = defaultdict(list)
        for path in paths:
            if key := separated_key(path):
                self._paths[key].append(path)
                self._paths[name_key(path)].append(path)

    def named(self, names: Sequence[str]) -> list[str]:
        keys = (separated_key(name) or (name_key(name) if _FLAT.search(name) else "") for name in names)
        return next((self._paths[key] for key in keys if key in self._paths), [])


def select_listed(entries: list[Entry], listing: str, everything: Sequence[Entry] = ()) -> list[Entry]:
    """Those on the list; all without one. `everything`: all photographs of the folder, where `entries` are a part. What the
    list names and the folder lacks is logged. Raises UserError where nothing is on it."""
    if not listing:
        return entries
    selection = match_list([entry.path for entry in everything or entries], listing)
    for words, names in (
        (f"names on {listing} are of no photograph in the folder", selection.missing),
        (f"names on {listing} may mean several photographs each; give their folders", list(selection.undecided)),
        (f"lines of {listing} name no picture", selection.no_names),
    ):
        if names:
            log.warning("'photos.include': %d %s: %s", len(names), words, some(names))
    if not selection.taken:
        raise UserError(
            f"'photos.include': none of the {selection.names} names on {listing} is in the folder of photographs"
        )
    return [entry for entry in entries if entry.path in selection.taken]


def check(folder: Path, settings: Photos) -> dict:
    """The content of the file. Raises UserError that says what is missing."""
    kind, entries = settings.layout, list_photos(folder)
    belongs = _deepfashion if kind == "deepfashion" else _ubcfashion
    good = [entry for entry in entries if belongs(entry)]
    if not good:
        raise UserError(
            f"{folder} is not {kind} as its owners deliver it: no file lies at {LAYOUT[kind]}. "
            "Get it from them, under their licence, and unpack it (docs/data.md)"
        )
    selection = Selection({entry.path for entry in good})
    if settings.include:
        selection = match_list([entry.path for entry in good], settings.include)
    if missing := [*selection.missing, *selection.undecided]:
        raise UserError(
            f"{len(missing)} of the {selection.names} files on {settings.include} are not in {folder}, or not one alone: "
            f"{some(missing)}. Complete the folder, or take their lines off the list"
        )
    used = [entry for entry in good if entry.path in selection.taken]
    if damaged := [entry.path for entry in used if entry.size <= 0 or not _readable(folder, entry)]:
        raise UserError(
            f"{len(damaged)} files in {folder} are empty or damaged: {', '.join(damaged[:5])}. Get them again"
        )
    folders = Counter(_part(entry) for entry in used)
    if kind == "ubcfashion":
        for part, count in UBC.items():
            if folders[part] and folders[part] < count:
                log.warning("%s has %d of the %d videos of UBC Fashion", part, folders[part], count)
    return {"kind": kind, "files": len(used), "listed": selection.names, "folders": dict(sorted(folders.items()))}


def _deepfashion(entry: Entry) -> bool:
    return bool(re.search(r"(^|/)(WO)?MEN/[^/]+/id_\d+/[^/]+$", entry.path)) or bool(
        re.search(r"(^|/)(img_)?(WO)?MEN-.+-id_\d+-[^/]+$", entry.path)
    )


def _ubcfashion(entry: Entry) -> bool:
    return entry.path.lower().endswith(".mp4")


def _part(entry: Entry) -> str:
    part = re.search(r"(?:^|/)(?:img_)?((?:WO)?MEN|train|test)[/-]", entry.path)
    return part.group(1) if part else "."


def _readable(folder: Path, entry: Entry) -> bool:
    """Videos are opened; pictures are read by the next stage anyway."""
    if not video.is_video(entry.path):
        return True
    try:
        video.frame_times(folder / entry.path)
    except PhotoError:
        return False
    return True


def main() -> None:
    paths = {"input": "the folder of photographs or videos", "output": "JSON to write"}
    args, settings = parse(stage_parser("photos.source_check", __doc__, paths), Photos)
    if not settings.layout:
        raise UserError("give --delivery: deepfashion or ubcfashion")
    result = check(args.input.expanduser(), settings)
    write_json(args.output, result)
    log.info("%s: %d files, %s", result["kind"], result["files"], result["folders"])


if __name__ == "__main__":
    console.run(main)
