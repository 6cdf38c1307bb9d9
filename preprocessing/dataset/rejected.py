"""List every photograph that did not reach the data set: at which stage, why, and the measured value.

Writes photo_id, path, stage, reason, value, and fails if a photograph is neither in the data set nor in this list.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ag3d.core import console, provenance
from ag3d.core.dataset_format import people_in
from ag3d.core.errors import UserError
from ag3d.core.files import read_table, write_table
from ag3d.core.shards import ShardReader, shard_files
from ag3d.preprocessing import schemas
from ag3d.preprocessing.stage import STAGES, Row, Verdict, stage_parser, to_table

log = logging.getLogger(__name__)


def verdicts(folder: Path, stage: str, shard: str) -> dict[str, Row]:
    """status, reason and value that `stage` gave each photograph or person of the shard."""
    if stage == "dedup":
        path = folder / "dedup.parquet"
        rows = read_table(path, schemas.ALIKE).to_dict("records") if path.exists() else []
        why = "almost the same picture as that of {of} (bits of the fingerprint that differ)"
        return {row["person_id"]: vars(Verdict.rejected(why.format(**row), row["value"])) for row in rows}
    key = "photo_id" if stage == "photos" else "person_id"
    table = read_table(folder / stage / f"{shard}.parquet", pa.schema([(key, pa.string()), *schemas.VERDICT]))
    return {row[key]: row for row in table[[key, "status", "reason", "value"]].to_dict("records")}


def rejected_of_shard(folder: Path, shard: str) -> list[Row]:
    """The rows of one shard. Raises RuntimeError naming photographs that a stage lost without a word."""
    manifest = read_table(
        folder / "photos" / f"{shard}.parquet", pa.schema([(name, pa.string()) for name in ("photo_id", "path")])
    )
    verdicts_by_stage = {stage: verdicts(folder, stage, shard) for stage in (*STAGES, "dedup")}
    reached = set(people_in(ShardReader(folder / "dataset" / f"{shard}.zip")))
    rows, lost = [], []
    for photo in manifest.to_dict("records"):
        name = photo["photo_id"]
        if name in reached:
            continue
        given = ((stage, by_name.get(name)) for stage, by_name in verdicts_by_stage.items())
        stage, verdict = next(((s, v) for s, v in given if v is not None and v["status"] != "ok"), ("", None))
        if verdict is None:
            lost.append(name)
        else:
            rows.append({**verdict, "photo_id": name, "path": photo["path"], "stage": stage})
    unknown = reached - set(manifest["photo_id"])
    if lost or unknown:
        raise RuntimeError(
            f"shard {shard}: {len(lost)} photographs disappeared without a reason ({', '.join(lost[:5])}) and "
            f"{len(unknown)} people of the data set are in no manifest ({', '.join(sorted(unknown)[:5])})"
        )
    assert len(manifest) == len(reached) + len(rows), (len(manifest), len(reached), len(rows))
    log.info("shard %s: %d photographs, %d people in the data set", shard, len(manifest), len(reached))
    return rows


def gather(folder: Path, number: int | None = None) -> pd.DataFrame:
    """The table over the `number` shards of a data set's folder (without: all). Raises UserError where there is none."""
    shards = [path.stem for path in shard_files(folder / "photos", ".parquet", number)]
    if not shards:
        raise UserError(f"{folder}/photos holds no manifest; run the stage photos first")
    return joined(to_table(rejected_of_shard(folder, shard), schemas.REJECTED) for shard in shards)


def joined(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(list(tables), ignore_index=True).sort_values("path", ignore_index=True)


def main() -> None:
    parser = stage_parser("dataset.rejected", __doc__, {"output": "table to write (.parquet)"})
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--folder", type=Path, help="folder of the data set, results/<dataset>")
    source.add_argument("--tables", type=Path, nargs="+", help="tables of what was left out, to be joined")
    parser.add_argument("--shards", type=int, help="how many shards the folder has (default: all that are there)")
    args = parser.parse_args()
    table = joined(map(read_table, args.tables)) if args.tables else gather(args.folder, args.shards)
    write_table(args.output, table, provenance.record("rejected", {}), schemas.REJECTED)
    log.info("%d left out", len(table))
    for (stage, reason), group in table.groupby(["stage", "reason"]):
        log.info("  %4d at %s: %s", len(group), stage, reason)


if __name__ == "__main__":
    console.run(main)
