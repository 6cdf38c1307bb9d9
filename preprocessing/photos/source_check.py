"""Check that a data set of photographs is as its owners deliver it, and say what is missing.

`deepfashion`: DeepFashion's In-shop Clothes Retrieval, .../MEN/Denim/id_00000089/04_7_additional.jpg. With a list of names
(such as that of the 8,037 full-body photographs that AG3D trained on) every one of them must be there, and only they are used.
`ubcfashion`: UBC Fashion's videos (500 to train, 100 to test), .mp4, in one folder or in train/ and test/; the owners'
text files of addresses serve as lists.

Writes JSON: kind, files (how many are used), listed, folders (how many files each part has).
"""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from ag3d.config.data import Photos
from ag3d.core import console
from ag3d.core.errors import UserError
from ag3d.core.files import write_json
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


def name_key(name: str) -> str:
    """What is the same in all the ways that a photograph is named: as a path, with dashes, in AG3D's data sets."""
    name = unquote(name.strip().strip("\"'")).replace("\\", "/")
    parts = re.sub(r"\.\w{3,4}$", "", name).split("/")
    start = next((k for k, part in enumerate(parts) if part in ("MEN", "WOMEN")), len(parts) - 1)
    joined = re.sub(r"[^a-z0-9]", "", "".join(parts[start:]).lower())
    return re.sub(r"^(img|fashion)+(?=(wo)?men)", "", joined)


def listed_names(listing: str) -> dict[str, str]:
    """Key to name of everything on a list: a text file with a name or address a line (or in its first column), or the
    dataset.json of a data set. Raises UserError."""
    path = Path(listing)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'photos.include': {path} cannot be read ({error})") from error
    if text.lstrip().startswith("{"):
        names = [str(name) for name in dict(json.loads(text).get("labels", {}))]
    else:
        lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
        names = [re.split(r"[,;\t ]", line.strip())[0] for line in lines]
    names_by_key = {name_key(name): name for name in names if re.search(r"\.\w{3,4}$", name) or "id_" in name}
    if not names_by_key:
        raise UserError(f"'photos.include': {path} names no files; a name a line is expected")
    return names_by_key


def select_listed(entries: list[Entry], listing: str) -> list[Entry]:
    """Those on the list; all without one."""
    if not listing:
        return entries
    names = listed_names(listing)
    return [entry for entry in entries if name_key(entry.path) in names]


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
    names = listed_names(settings.include) if settings.include else {}
    if missing := [name for k, name in names.items() if k not in {name_key(entry.path) for entry in good}]:
        raise UserError(
            f"{len(missing)} of the {len(names)} files on {settings.include} are not in {folder}: {', '.join(missing[:5])}"
            f"{' …' if len(missing) > 5 else ''}. Complete the folder, or take their lines off the list"
        )
    used = select_listed(good, settings.include)
    if damaged := [entry.path for entry in used if entry.size <= 0 or not _readable(folder, entry)]:
        raise UserError(
            f"{len(damaged)} files in {folder} are empty or damaged: {', '.join(damaged[:5])}. Get them again"
        )
    folders = Counter(_part(entry) for entry in used)
    if kind == "ubcfashion":
        for part, count in UBC.items():
            if folders[part] and folders[part] < count:
                log.warning("%s has %d of the %d videos of UBC Fashion", part, folders[part], count)
    return {"kind": kind, "files": len(used), "listed": len(names), "folders": dict(sorted(folders.items()))}


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
