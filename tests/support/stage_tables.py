"""The stages' tables without their commands."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa

from ag3d.config.data import People, Photos
from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader
from ag3d.preprocessing import schemas
from ag3d.preprocessing.people.blazepose import BlazePose, FaceDetector
from ag3d.preprocessing.people.stage import people_of_shard
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.stage import photos_of_shard
from ag3d.preprocessing.stage import OK, to_table


def manifest_table(folder: str | Path, shard: int, settings: Photos, listing: Path | None = None) -> pd.DataFrame:
    return to_table(photos_of_shard(folder, shard, settings, listing), schemas.PHOTOS)


def people_table(manifest: Path, net: BlazePose, **options) -> pd.DataFrame:
    """The people of the shard whose manifest this is; the face detector is taken from beside the network."""
    faces = FaceDetector(net.files[0].parent)
    return to_table(people_of_shard(Manifest(manifest), net, faces, People(**options)), schemas.PEOPLE)


def write_verdicts(pictures: Path, schema: pa.Schema, people: dict[str, dict]) -> None:
    """The table that belongs to a shard's zip, by person; who has no status is ok."""
    rows = [
        {"person_id": name, "photo_id": name, "path": f"{name}.jpg", **vars(OK), **row} for name, row in people.items()
    ]
    record = ShardReader(pictures).record()
    write_table(pictures.with_suffix(".parquet"), to_table(rows, schema), record, schema)


def by_person(table: pd.DataFrame) -> dict[str, dict]:
    return {row["person_id"]: row for row in table.to_dict("records")}
