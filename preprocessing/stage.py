"""What all stages from photographs to the data set share: their commands, their verdicts, and the files of a shard.

A stage writes `<stage>/<shard>.parquet` with a row (see schemas) for each photograph or person that the stage before
passed on, and where it makes pictures, `<stage>/<shard>.zip` with those of everybody whose status is ok. The table is
written last and both carry the same record, so a stage that ended between the two is seen to be unfinished.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa

from ag3d.config.settings import add_options, from_options, to_mapping
from ag3d.core import console, provenance
from ag3d.core.errors import UserError
from ag3d.core.files import read_record, read_table, write_table
from ag3d.core.shards import ShardReader, write_shard
from ag3d.preprocessing import schemas
from ag3d.preprocessing.photos.read_image import PhotoError

S = TypeVar("S")
Row = dict[str, Any]
log = logging.getLogger(__name__)
STAGES = ("photos", "people", "matting", "fitting", "alignment", "normals")  # their folders, in order


@dataclass(frozen=True)
class Verdict:
    """Whether a photograph or person goes on; if not, why, and the measured `value` if there is one."""

    status: str = "ok"
    reason: str = ""
    value: float | None = None

    @staticmethod
    def rejected(reason: str, value: float | None = None) -> Verdict:
        return Verdict("rejected", reason, value)

    @staticmethod
    def unreadable(error: PhotoError) -> Verdict:
        return Verdict("rejected", error.reason, error.value)

    @property
    def ok(self) -> bool:
        return self.status == "ok"


OK = Verdict()


def stage_parser(
    module: str, doc: str | None, paths: Mapping[str, str], networks: bool = False
) -> argparse.ArgumentParser:
    """The parser of a command of preprocessing: `paths` are required options by name, with their help; of "name +" several
    paths are taken. With `networks`, options that say where these run."""
    parser = console.parser(f"ag3d.preprocessing.{module}", doc)
    for option, help in paths.items():
        name, _, several = option.partition(" ")
        parser.add_argument(f"--{name}", type=Path, required=True, nargs=several or None, help=help)
    if networks:
        parser.add_argument("--threads", type=int, default=1, help="threads of the networks")
        parser.add_argument("--device", default="auto", help="of the networks that can use a GPU: auto, cpu, cuda …")
    return parser


def parse(parser: argparse.ArgumentParser, settings: type[S]) -> tuple[argparse.Namespace, S]:
    """What the command line says: options, and `settings`, which get options of their own. Raises UserError about these."""
    add_options(parser, settings)
    args = parser.parse_args()
    return args, from_options(settings, args)


def run_stage(
    name: str,
    settings: Any,
    inputs: Iterable[Path],
    output: Path,
    schema: pa.Schema,
    process: Callable[..., Iterable[Row]],
    **more: Any,
) -> pd.DataFrame:
    """Write the rows that `process` returns as the stage's table; the table is returned.

    Where `output` is a .zip, `process` gets its ShardWriter, and the table lies beside it. `inputs`: files that the rows are
    made from, for the record, to which `more` is added; of a shard's zip its table is one, too.
    """
    record = provenance.record(name, to_mapping(settings), with_tables(inputs)) | more
    path = output.with_suffix(".parquet")
    if output.suffix == ".zip":
        with write_shard(output, record) as pictures:
            rows = list(process(pictures))
            path.unlink(missing_ok=True)  # an older table does not belong to the zip that now takes its place
    else:
        rows = list(process())
    table = to_table(rows, schema)
    write_table(path, table, record, schema)
    bad = table[table["status"] != "ok"]
    log_verdicts(name, bad, len(table) - len(bad))
    return table


def with_tables(inputs: Iterable[Path]) -> list[Path]:
    """The files, and the table of each shard of pictures among them."""
    paths = list(inputs)
    tables = (path.with_suffix(".parquet") for path in paths if path.suffix == ".zip")
    return [*paths, *(table for table in tables if table.exists())]


def to_table(rows: Iterable[Row], schema: pa.Schema) -> pd.DataFrame:
    """Rows with the columns and types of the schema; what a row lacks is null."""
    rows = list(rows)
    columns = [pa.array([row.get(field.name) for row in rows], field.type, from_pandas=True) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema).to_pandas()


def read_verdicts(pictures: Path, schema: pa.Schema = schemas.NORMALS) -> pd.DataFrame:
    """The table that belongs to a shard's .zip, with the columns of `schema`, by default those that all such tables have.

    Raises UserError where it is missing, or of another run of the stage.
    """
    path = pictures.with_suffix(".parquet")
    table = read_table(path, schema)
    if read_record(path) != ShardReader(pictures).record():
        raise UserError(f"{path} and {pictures.name} were not written together; delete both and run again")
    return table


def passed(table: pd.DataFrame) -> list[Row]:
    """The rows of those who go on."""
    return table[table["status"] == "ok"].to_dict("records")


def person_of(row: Row | pd.Series) -> Row:
    """Who it is, for the row of the next stage."""
    return {name: row[name] for name in ("person_id", "photo_id", "path")}


def log_verdicts(name: str, rejected: pd.DataFrame, passed: int) -> None:
    """How many passed; how many were rejected for which reason."""
    log.info("%s: %d ok, %d rejected", name, passed, len(rejected))
    for reason, count in rejected["reason"].value_counts().items():
        log.info("  %d: %s", count, reason)
