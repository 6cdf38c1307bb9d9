"""The format of AG3D's data sets: uncompressed zips that its data loader reads unchanged.

| entry | content |
| --- | --- |
| `img_<person>.png` | RGBA crop |
| `normal_<person>.png` | its normal map; background exactly white |
| `dataset.json` | {"labels": {"img_<person>.png": [camera 25, SMPL 86]}} |

So it is written here. Data sets of others have pictures in folders and in other formats, pictures without alpha on white,
and labels as a list of pairs or of 111 numbers each; these are read, too.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ag3d.core.errors import UserError
from ag3d.core.shards import ShardReader, ShardWriter, encode_png, write_shard

LABELS = "dataset.json"
LABEL_LENGTH, CAMERA_LENGTH = 111, 25
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def entry_names(person: str) -> tuple[str, str]:
    """The entries of a person's picture and normal map. Raises ValueError where AG3D's data loader would misread them."""
    if "img" in person:
        raise ValueError(f"the identifier {person} contains 'img', which AG3D's data loader would misread")
    return f"img_{person}.png", f"normal_{person}.png"


def people_in(shard: ShardReader) -> list[str]:
    """Identifiers of the people in a zip that was written here."""
    return [name[len("img_") : -len(".png")] for name in shard.names if name.startswith("img_")]


class DatasetWriter:
    """Adds people to a zip; use it through `write_dataset`."""

    def __init__(self, shard: ShardWriter) -> None:
        self._shard = shard
        self.labels: dict[str, list[list[float]]] = {}

    def __len__(self) -> int:
        return len(self.labels)

    def __contains__(self, person: str) -> bool:
        return f"img_{person}.png" in self.labels

    def write_person(
        self, person: str, image: bytes | np.ndarray, normal: bytes | np.ndarray, label: Sequence[float] | np.ndarray
    ) -> None:
        """`image`: uint8 [R,R,4], `normal`: uint8 [R,R,3], or PNG files of such; `label`: 111 numbers of float32."""
        names = entry_names(person)
        for name, content in zip(names, (image, normal), strict=True):
            self._shard.add(name, content if isinstance(content, bytes) else encode_png(content))
        numbers = np.asarray(label, np.float32).tolist()
        self.labels[names[0]] = [numbers[:CAMERA_LENGTH], numbers[CAMERA_LENGTH:]]


@contextmanager
def write_dataset(path: str | os.PathLike[str], record: dict[str, Any]) -> Iterator[DatasetWriter]:
    """Write a shard of a data set atomically; `record` as for `write_shard`."""
    with write_shard(path, record) as shard:
        writer = DatasetWriter(shard)
        yield writer
        shard.add_json(LABELS, {"labels": writer.labels})


def is_image(name: str) -> bool:
    """As AG3D chooses them; what macOS adds to zips is passed over."""
    plain = name.replace("\\", "/")
    hidden = plain.startswith("__MACOSX/") or plain.rsplit("/", maxsplit=1)[-1].startswith(".")
    return name.lower().endswith(_SUFFIXES) and "img" in name and "_seg" not in name and not hidden


def normal_name(image_name: str) -> str:
    """The entry of the normal map that belongs to a picture's, by AG3D's rule."""
    return image_name.replace("img", "normal")


def label_rows(shard: ShardReader) -> dict[str, Any]:
    """What dataset.json says of each image, unchecked, by its entry: a mapping, or a list of pairs, whose names may be spelt as
    another system does. Raises UserError."""
    if LABELS not in shard:
        raise UserError(f"{shard.path} has no {LABELS} in its root; is it an AG3D data set?")
    try:
        rows = dict(shard.json(LABELS)["labels"])
        if not all(isinstance(name, str) for name in rows):
            raise ValueError("names that are no text")
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{shard.path}: {LABELS} is not {{'labels': mapping or list of pairs}} ({error}); every image needs a label"
        ) from error
    entries = set(shard.names)
    if entries.issuperset(rows):
        return rows
    by_spelling: dict[str, list[str]] = defaultdict(list)
    for name in entries:
        by_spelling[_spelling(name)].append(name)
    spelt = {name: by_spelling[_spelling(name)] for name in rows if name not in entries}
    found = {same[0]: rows[name] for name, same in spelt.items() if len(same) == 1}
    return found | {name: row for name, row in rows.items() if len(spelt.get(name, ())) != 1}


def _spelling(name: str) -> str:
    """A name of an entry as most zips have it: Windows writes backslashes, macOS splits letters from their accents."""
    return unicodedata.normalize("NFC", str(name).replace("\\", "/")).removeprefix("./")


def read_labels(shard: ShardReader) -> dict[str, np.ndarray]:
    """Label (float32 [111]) of every image that has one, by the image's entry, in order. Raises UserError."""
    rows = label_rows(shard)
    return {name: flat_label(rows[name], f"{shard.path}: label of '{name}'") for name in sorted(rows)}


def flat_label(row: Any, where: str) -> np.ndarray:
    """[camera 25, SMPL 86] or 111 numbers to float32 [111]. Raises UserError that begins with `where`."""
    try:
        with np.errstate(over="ignore"):
            flat = np.concatenate([np.asarray(part, dtype=np.float32).ravel() for part in row])
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(f"{where} is not a list of numbers") from error
    if flat.shape != (LABEL_LENGTH,) or not np.isfinite(flat).all():
        raise UserError(f"{where} has {flat.size} numbers; {LABEL_LENGTH} finite ones are needed")
    return flat
