"""The stages' tables without their commands."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ag3d.config.data import People, Photos
from ag3d.preprocessing import schemas
from ag3d.preprocessing.people.blazepose import BlazePose, FaceDetector
from ag3d.preprocessing.people.stage import people_of_shard
from ag3d.preprocessing.photos.manifest import Manifest
from ag3d.preprocessing.photos.stage import photos_of_shard
from ag3d.preprocessing.stage import to_table


def manifest_table(folder: str | Path, shard: int, settings: Photos, listing: Path | None = None) -> pd.DataFrame:
    return to_table(photos_of_shard(folder, shard, settings, listing), schemas.PHOTOS)


def people_table(manifest: Path, net: BlazePose, **options) -> pd.DataFrame:
    """The people of the shard whose manifest this is; the face detector is taken from beside the network."""
    faces = FaceDetector(net.files[0].parent)
    return to_table(people_of_shard(Manifest(manifest), net, faces, People(**options)), schemas.PEOPLE)
