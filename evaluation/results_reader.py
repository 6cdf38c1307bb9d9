"""Reading the results of all stages and shards of a data set, whatever of them is there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ag3d.core.dataset_format import LABEL_LENGTH, people_in
from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import ShardReader, shard_files
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.read_image import PhotoError
from ag3d.preprocessing.schemas import REJECTED
from ag3d.preprocessing.stage import passed


@contextlib.contextmanager
def expecting(path: Path, what: str) -> Iterator[None]:
    """Reading of a small file of results that may hold anything: UserError where it does not hold `what`."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise UserError(f"{path} is not {what} ({type(error).__name__}: {error}); delete it and run again") from error


@dataclass
class Thumbnail:
    """A photograph, upright and small."""

    image: np.ndarray  # uint8 RGB
    scale: float  # its pixels per pixel of the photograph as the stages read it


@dataclass(eq=False)
class DatasetResults:
    """results/<dataset>. `shard_count`: how many shards it has; without, all that are there."""

    root: Path
    shard_count: int | None = None

    def _files(self, stage: str, suffix: str) -> list[Path]:
        return shard_files(self.root / stage, suffix, self.shard_count)

    @functools.cache  # noqa: B019  one short-lived object per report
    def table(self, stage: str) -> pd.DataFrame:
        """All shards of a stage's table, indexed by identity; empty where there is none."""
        identity = "photo_id" if stage == "photos" else "person_id"
        needed = pa.schema([(identity, pa.string()), ("status", pa.string())])
        parts = [read_table(path, needed) for path in self._files(stage, ".parquet")]
        parts = [part for part in parts if len(part)]
        if not parts:
            return pd.DataFrame(columns=["path", "status", "reason", "value"])
        return pd.concat(parts, ignore_index=True).set_index(identity, drop=False).sort_index()

    @functools.cache  # noqa: B019
    def shards(self, stage: str) -> list[ShardReader]:
        return [ShardReader(path) for path in self._files(stage, ".zip")]

    @functools.cache  # noqa: B019
    def labels(self) -> dict[str, np.ndarray]:
        """Person to label [111], of the aligned crops."""
        with expecting(self.root / "alignment", "a folder of aligned crops with labels"):
            rows = passed(self.table("alignment"))
            return {row["person_id"]: np.array(row["label"], np.float32).reshape(LABEL_LENGTH) for row in rows}

    def image(self, stage: str, name: str) -> np.ndarray | None:
        """Entry `name` of the stage's zips; None where there is none."""
        for shard in self.shards(stage):
            if name in shard:
                return shard.image(name)
        return None

    @functools.cache  # noqa: B019
    def people(self) -> list[str]:
        """Everybody in the data set."""
        return sorted(person for shard in self.shards("dataset") for person in people_in(shard))

    @functools.cache  # noqa: B019
    def rejected(self) -> pd.DataFrame:
        """photo_id, path, stage, reason, value of everybody left out."""
        path = self.root / "rejected.parquet"
        return read_table(path, REJECTED) if path.exists() else pd.DataFrame(columns=REJECTED.names)

    @functools.cache  # noqa: B019
    def manifests(self) -> dict[str, Manifest]:
        """Photograph to the manifest that reads it."""
        manifests = [Manifest(path) for path in self._files("photos", ".parquet")]
        return {name: manifest for manifest in manifests for name in manifest.table["photo_id"]}

    @functools.lru_cache(maxsize=256)  # noqa: B019
    def photograph(self, photo: str, side: int) -> Thumbnail | None:
        """The photograph, reduced to about side × side pixels; None where it cannot be read."""
        manifest = self.manifests().get(photo)
        if manifest is None:
            return None
        try:
            image = manifest.photo(photo, side * side).rgb
        except PhotoError:
            return None
        width = self.table("photos").loc[photo, "width"]
        return Thumbnail(image, image.shape[1] / width if width > 0 else 1.0)


def resample_evenly(items: Iterable[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly spaced."""
    items = list(items)
    if len(items) <= count:
        return items
    return [items[k] for k in np.linspace(0, len(items) - 1, count).round().astype(int)]
