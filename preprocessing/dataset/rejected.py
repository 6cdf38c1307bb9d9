"""List every photograph that did not reach the data set: at which stage, why, and the measured value.

Writes photo_id, path, stage, reason, value, and fails if a photograph is neither in the data set nor in this list.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from ag3d.core import console, provenance
from ag3d.core.dataset_format import people_in
from ag3d.core.errors import UserError
from ag3d.core.files import read_table, write_table
from ag3d.core.shards import ShardReader, shard_files
from ag3d.preprocessing import schemas
from ag3d.preprocessing.stage import STAGES, Row, Verdict

log = logging.getLogger(__name__)
COLUMNS = schemas.REJECTED.names


def verdicts(folder: Path, stage: str, shard: str) -> dict[str, Row]:
    """status, reason and value that `stage` gave each photograph or person of the shard."""
    if stage == "dedup":
        path = folder / "dedup.parquet"
        rows = read_table(path).to_dict("records") if path.exists() else []
        why = "almost the same picture as that of {of} (bits of the fingerprint that differ)"
        return {row["person_id"]: vars(Verdict.rejected(why.format(**row), row["value"])) for row in rows}
    table = read_table(folder / stage / f"{shard}.parquet")
    key = "photo_id" if stage == "photos" else "person_id"
    return {row[key]: row for row in table[[key, "status", "reason", "value"]].to_dict("records")}


def rejected_of_shard(folder: Path, shard: str) -> tuple[pd.DataFrame, int, int]:
    """The table for one shard, and the numbers of photographs and of people in the data set.

    Raises RuntimeError naming photographs that a stage lost without a word.
    """
    manifest = read_table(folder / "photos" / f"{shard}.parquet")
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
            rows.append([name, photo["path"], stage, verdict["reason"], verdict["value"]])
    unknown = reached - set(manifest["photo_id"])
    if lost or unknown:
        raise RuntimeError(
            f"shard {shard}: {len(lost)} photographs disappeared without a reason ({', '.join(lost[:5])}) and "
            f"{len(unknown)} people of the data set are in no manifest ({', '.join(sorted(unknown)[:5])})"
        )
    assert len(manifest) == len(reached) + len(rows), (len(manifest), len(reached), len(rows))
    return pd.DataFrame(rows, columns=COLUMNS), len(manifest), len(reached)


def gather(folder: Path, number: int | None = None) -> tuple[pd.DataFrame, int, int]:
    """The table over the `number` shards of a data set's folder (without: all), the photographs and the people in it.

    Raises UserError where the folder holds no shard.
    """
    shards = [path.stem for path in shard_files(folder / "photos", ".parquet", number)]
    if not shards:
        raise UserError(f"{folder}/photos holds no manifest; run the stage photos first")
    parts = [rejected_of_shard(folder, shard) for shard in shards]
    table = pd.concat([part[0] for part in parts], ignore_index=True).sort_values("path", ignore_index=True)
    table["value"] = table["value"].astype("float64")
    return table, sum(part[1] for part in parts), sum(part[2] for part in parts)


def main() -> None:
    parser = console.parser("ag3d.preprocessing.dataset.rejected", __doc__)
    parser.add_argument("--folder", type=Path, help="folder of the data set, results/<dataset>")
    parser.add_argument("--tables", type=Path, nargs="+", help="instead: tables of what was left out, to be joined")
    parser.add_argument("--shards", type=int, help="how many shards the data set has (default: all that are there)")
    parser.add_argument("--output", type=Path, required=True, help="table to write (.parquet)")
    args = parser.parse_args()
    if args.tables:
        table = pd.concat([read_table(path) for path in args.tables], ignore_index=True)
        write_table(
            args.output,
            table.sort_values("path", ignore_index=True),
            provenance.record("rejected", {}),
            schemas.REJECTED,
        )
        log.info("%d people left out", len(table))
        return
    if not args.folder:
        raise UserError("give --folder or --tables")
    table, photos, people = gather(args.folder, args.shards)
    write_table(args.output, table, provenance.record("rejected", {}), schemas.REJECTED)
    log.info("%d photographs: %d in the data set, %d left out", photos, people, len(table))
    for (stage, reason), group in table.groupby(["stage", "reason"]):
        log.info("  %4d at %s: %s", len(group), stage, reason)


if __name__ == "__main__":
    console.run(main)
