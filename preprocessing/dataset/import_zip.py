"""Data sets of AG3D's layout, made elsewhere, straight into the data set: checked, divided into shards, in the resolution
that the configuration names.

Writes a shard of the data set (see ag3d.preprocessing.dataset) and the table of what was left out of it. A picture without
an alpha channel is taken as already on white; its person is where the normal map is not white.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ag3d.config import Dataset, read
from ag3d.config.settings import to_mapping
from ag3d.core import console, provenance
from ag3d.core.dataset_format import DatasetWriter, flat_label, is_image, label_rows, normal_name, write_dataset
from ag3d.core.errors import UserError
from ag3d.core.files import write_table
from ag3d.core.shards import ShardReader
from ag3d.preprocessing import schemas
from ag3d.preprocessing.dataset.stage import resize_crop, resize_normals
from ag3d.preprocessing.photos.photo_index import photo_id, shard_of
from ag3d.preprocessing.stage import Row, log_verdicts, parse, stage_parser, to_table

LARGEST_SIDE = 4096  # pixels; larger ones would take gigabytes as they are made smaller


class Unusable(Exception):
    """A person who cannot be taken over, and why."""


def zips(path: Path) -> list[Path]:
    """The zips that 'photos.path' names. Raises UserError where there are none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"'photos.path' is '{path}', which does not exist; name AG3D's zip, or a folder of such zips")
    archives = sorted(path.glob("*.zip"))
    if not archives:
        raise UserError(f"'photos.path': {path} holds no .zip")
    return archives


def convert(
    source: ShardReader, name: str, label: Any, resolution: int
) -> tuple[bytes | np.ndarray, bytes | np.ndarray, np.ndarray]:
    """Picture and normal map, as they are where they can be, and the label [111]. Raises Unusable."""
    if label is None:
        raise Unusable("it has no label")
    try:
        flat = flat_label(label, "its label")
    except UserError as error:
        raise Unusable(str(error)) from error
    map_name = normal_name(name)
    if map_name not in source:
        raise Unusable("it has no normal map")
    try:
        picture, normal = source.image(name), source.image(map_name)
    except UserError as error:
        raise Unusable("its picture or normal map cannot be read") from error
    if picture.ndim != 3 or picture.shape[0] != picture.shape[1] or normal.shape != (*picture.shape[:2], 3):
        raise Unusable("picture and normal map are not squares of one size, in colour")
    if len(picture) > LARGEST_SIDE:
        raise Unusable(f"it is larger than {LARGEST_SIDE} pixels")
    if len(picture) == resolution and name.endswith(".png") and map_name.endswith(".png"):
        return source.read(name), source.read(map_name), flat
    if picture.shape[2] == 3:
        picture = np.dstack([picture, 255 * (normal != 255).any(-1).astype(np.uint8)])
    crop = resize_crop(picture, resolution)
    return crop, resize_normals(normal, crop[..., 3]), flat


def import_shard(
    sources: list[ShardReader], shard: int, shards: int, resolution: int, output: DatasetWriter
) -> Iterator[Row]:
    """Write the people of shard number `shard`; a row for each who is left out."""
    taken: dict[str, tuple[ShardReader, str]] = {}
    for source in sources:
        known = label_rows(source)
        for name in console.progress(list(filter(is_image, source.names)), source.path.name, unit="person"):
            person, label = photo_id(name), known.get(name)
            if shard_of(person, shards) != shard:
                continue
            try:
                if person in taken:
                    raise Unusable(_taken_before(source, name, *taken[person]))
                picture, normal, flat = convert(source, name, label, resolution)
            except Unusable as error:
                path = f"{source.path.name}:{name}"
                yield {"photo_id": person, "path": path, "stage": "dataset", "reason": str(error)}
                continue
            output.write_person(person, picture, normal, flat)
            taken[person] = source, name


def _taken_before(source: ShardReader, name: str, other: ShardReader, other_name: str) -> str:
    """Why the picture `name` cannot be taken where its identifier is that of the picture `other_name` of the zip `other`."""
    if name != other_name:
        return f"its identifier is that of {other.path.name}:{other_name}; rename one of the two"
    if source is other:
        return "the zip has this entry twice; the last is taken"
    return "another zip has a picture of this name"


def main() -> None:
    paths = {
        "input": "a zip of AG3D's layout, or a folder of such zips",
        "output": "shard of the data set to write (.zip)",
        "rejected": "table of what was left out (.parquet)",
    }
    parser = stage_parser("dataset.import_zip", __doc__, paths)
    parser.add_argument("--shard", type=int, required=True, help="number of the shard to write, from 0")
    parser.add_argument("--shards", type=int, help="how many the data set has (default: photos.shards of --config)")
    args, settings = parse(parser, Dataset)
    shards = args.shards or read(args.config).photos.shards
    files = zips(args.input.expanduser())
    record = provenance.record("import_zip", to_mapping(settings), files)
    with write_dataset(args.output, record) as output:
        rows = import_shard([ShardReader(f) for f in files], args.shard, shards, settings.resolution, output)
        table = to_table(rows, schemas.REJECTED)
    write_table(args.rejected, table, record, schemas.REJECTED)
    log_verdicts("import_zip", table, len(output))


if __name__ == "__main__":
    console.run(main)
