"""The viewer's page: one HTML file with avatars, pictures and three.js inside, which works offline and from a disk."""

from __future__ import annotations

import base64
import hashlib
import json
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config.settings import short
from ag3d.core.bounded import parse_json, read_bytes
from ag3d.core.errors import UserError
from ag3d.core.files import read_json
from ag3d.core.html import POLICY, render_page
from ag3d.core.shards import decode_image, encode_png
from ag3d.evaluation.report.media import data_uri
from ag3d.evaluation.results_reader import expecting
from ag3d.model.imaging import KINDS

HERE = Path(__file__).parent
GLB_MAGIC = b"glTF"


@dataclass
class Person:
    """Somebody in the gallery; what is empty is not shown."""

    name: str  # also of the downloads
    title: str
    image: str = ""  # data URI
    normal: str = ""  # data URI
    glb: str = ""  # base64


MOST_PEOPLE = 10_000


@dataclass
class Page:
    title: str
    subtitle: str
    people: list[Person]


def page_of_run(run: Path) -> Page:
    """The avatars of results/<run>. Raises UserError where they are missing."""
    if not (run / "avatars" / "avatars.json").exists() and not (run / "export" / "export.json").exists():
        raise UserError(f"{run} holds no avatars; finish the run first: snakemake --cores all generate")
    seeds: dict[int, None] = {}  # each once, in order
    for record in (run / "avatars" / "avatars.json", run / "export" / "export.json"):
        if record.exists():
            with expecting(record, "a list of avatars"):
                seeds |= dict.fromkeys(map(operator.index, read_json(record)["seeds"]))
                if not all(0 <= seed < 2**64 for seed in seeds):
                    raise ValueError("a seed is too large, or negative")
    if len(seeds) > MOST_PEOPLE:
        raise UserError(f"{run} names {len(seeds):,} avatars; a page shows at most {MOST_PEOPLE:,}")
    people = [_person_of_run(run, seed) for seed in seeds]
    return Page(f"Avatars of run {run.resolve().name}", "Generated people. None of them exists.", people)


def page_of_files(paths: list[Path]) -> Page:
    """Avatars in .glb files. Raises UserError on other files."""
    people = [Person(path.stem, path.name, glb=read_glb(path)) for path in paths]
    names = [person.name for person in people]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise UserError(f"two files are named {min(repeated)}.glb; rename one of them")
    return Page(paths[0].name if len(paths) == 1 else f"{len(paths)} avatars", "", people)


def read_glb(path: Path) -> str:
    """A .glb file as base64 text. Raises UserError where it is none."""
    data = read_bytes(path)
    if data[:4] != GLB_MAGIC or int.from_bytes(data[8:12], "little") != len(data) or data[16:20] != b"JSON":
        raise UserError(f"{path} is not a whole .glb file (binary glTF)")
    content = parse_json(data[20 : 20 + int.from_bytes(data[12:16], "little")], f"{path}: its description")
    if foreign := next((address for address in _addresses(content) if not address.startswith("data:")), ""):
        raise UserError(
            f"{path} takes a part from {short(foreign)}; only what is inside the file is shown: pack it whole"
        )
    return base64.b64encode(data).decode()


def _addresses(content: Any) -> Iterator[str]:
    """Whatever a glTF description calls `uri`, of pictures, of numbers and in extensions."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict) and "uri" in part:
            yield str(part["uri"])
        waiting += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()


def render(page: Page) -> str:
    """The page as HTML."""
    people = [{**vars(person), "glb": "", "rigged": bool(person.glb)} for person in page.people]
    scripts = [(HERE / name).read_text(encoding="utf-8") for name in ("three/three.js", "viewer.js")]
    return render_page(
        HERE / "template.html",
        page=page,
        data=json.dumps(people, ensure_ascii=False).replace("<", "\\u003c"),
        style=(HERE / "viewer.css").read_text(encoding="utf-8"),
        scripts=scripts,
        # The browser runs these scripts and no others, and asks nothing of the network.
        policy=f"{POLICY}; connect-src blob: data:; script-src {' '.join(map(_script_hash, scripts))}",
    )


def _script_hash(script: str) -> str:
    """A script as a Content-Security-Policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _person_of_run(run: Path, seed: int) -> Person:
    person = Person(f"{seed:06d}", f"Seed {seed}")
    glb = run / "export" / f"{seed:06d}.glb"
    if glb.exists():
        person.glb = read_glb(glb)
    strip = run / "avatars" / "people" / f"{seed:06d}.png"
    if strip.exists():
        kinds = _pictures(strip)
        person.image, person.normal = kinds["image"], kinds["normal"]
    return person


def _pictures(strip: Path) -> dict[str, str]:
    """The pictures of one person, side by side in a file, as data URIs."""
    pixels = decode_image(read_bytes(strip), str(strip))
    if pixels.ndim != 3 or pixels.shape[1] != len(KINDS) * pixels.shape[0]:
        raise UserError(f"{strip} is not a row of {len(KINDS)} pictures; delete it and run again")
    pictures = np.split(pixels, len(KINDS), axis=1)
    return {
        kind: data_uri(encode_png(np.ascontiguousarray(picture)), "image/png") for kind, picture in zip(KINDS, pictures)
    }
