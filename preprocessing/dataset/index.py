"""Count the data set and name its content by a hash, so that training knows which data it sees.

Writes JSON: number (people in all), shards (people in each), resolution, version, content (SHA-256 over the names, sizes
and CRC-32 of all entries, the same on every machine), rejected (photographs by stage).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ag3d.config import Dataset
from ag3d.core import console
from ag3d.core.dataset_format import entry_names, people_in
from ag3d.core.errors import UserError
from ag3d.core.files import read_table, write_json
from ag3d.core.shards import ShardReader, content_hash
from ag3d.preprocessing import schemas
from ag3d.preprocessing.stage import parse, stage_parser

log = logging.getLogger(__name__)


def index(paths: Sequence[Path], rejected: pd.DataFrame, version: int) -> dict[str, Any]:
    """The content of the index. Raises UserError if no photograph reached the data set."""
    shards = [ShardReader(path) for path in sorted(paths)]
    counts = {shard.path.stem: len(people_in(shard)) for shard in shards}
    number = sum(counts.values())
    if not number:
        raise UserError(_empty(rejected))
    first = next(shard for shard in shards if counts[shard.path.stem])
    resolution = first.image(entry_names(people_in(first)[0])[0]).shape[0]
    return {
        "number": number,
        "shards": counts,
        "resolution": int(resolution),
        "version": version,
        "content": content_hash(shards),
        "rejected": {stage: int(n) for stage, n in rejected["stage"].value_counts().items()},
    }


def _empty(rejected: pd.DataFrame) -> str:
    counts = rejected.groupby(["stage", "reason"]).size().sort_values(ascending=False)
    top = "; ".join(f"{n} at {stage}: {reason}" for (stage, reason), n in counts.head(3).items())
    return (
        f"the data set is empty: all {len(rejected)} photographs were left out ({top or 'there were none'}). "
        "rejected.parquet beside the data set lists each; full figures, one person a photograph, work best, and the "
        "limits are under 'people' and 'fitting' in the configuration"
    )


def main() -> None:
    paths = {"rejected": "table of what was left out (.parquet)", "output": "index to write (.json)"}
    parser = stage_parser("dataset.index", __doc__, paths)
    parser.add_argument("data", type=Path, nargs="+", help="shards of the data set (.zip)")
    args, settings = parse(parser, Dataset)
    content = index(args.data, read_table(args.rejected, schemas.REJECTED), settings.version)
    write_json(args.output, content)
    log.info("%d people in %d shards, content %s", content["number"], len(content["shards"]), content["content"][:12])


if __name__ == "__main__":
    console.run(main)
