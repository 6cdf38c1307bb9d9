"""The contract of all stages: a row for everybody, pictures and table written together or seen not to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ag3d.config.data import Matting
from ag3d.core.errors import UserError
from ag3d.core.files import read_record, read_table
from ag3d.core.shards import ShardReader
from ag3d.preprocessing import schemas
from ag3d.preprocessing.stage import OK, Verdict, passed, read_verdicts, run_stage, with_tables

PERSON = {"photo_id": "a", "path": "a.jpg"}


def write(output: Path, seed: int = 0) -> Path:
    def process(pictures):
        pictures.add_image("a.png", np.full((4, 4), seed, np.uint8))
        yield {"person_id": "a", **PERSON, "area": 0.5, "joints": 1.0, **vars(OK)}
        yield {"person_id": "b", **PERSON, **vars(Verdict.rejected("too small", 3.0))}

    run_stage("matting", Matting(), [], output, schemas.MATTES, process, seed=seed)
    return output


def test_pictures_and_verdicts_carry_one_record(tmp_path: Path) -> None:
    pictures = write(tmp_path / "mattes" / "00000.zip")
    table = read_verdicts(pictures)
    assert list(table.columns) == schemas.MATTES.names
    assert [row["person_id"] for row in passed(table)] == ["a"]
    assert (table["reason"][1], table["value"][1]) == ("too small", 3.0)
    assert np.isnan(table["area"][1])
    assert read_record(pictures.with_suffix(".parquet")) == ShardReader(pictures).record()
    assert with_tables([pictures]) == [pictures, pictures.with_suffix(".parquet")]


def test_a_stage_that_ended_between_the_two_is_seen_to_be_unfinished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = write(tmp_path / "00000.zip")

    def dies(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ag3d.preprocessing.stage.write_table", dies)
    with pytest.raises(KeyboardInterrupt):
        write(pictures, seed=1)
    with pytest.raises(UserError, match=r"00000\.parquet does not exist"):
        read_verdicts(pictures)
    monkeypatch.undo()
    write(pictures, seed=1)
    assert len(read_verdicts(pictures)) == 2


def test_a_stage_that_fails_before_leaves_the_older_result(tmp_path: Path) -> None:
    pictures = write(tmp_path / "00000.zip")

    def fails(pictures):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        run_stage("matting", Matting(), [], pictures, schemas.MATTES, fails)
    assert len(read_verdicts(pictures)) == 2


def test_files_of_two_runs_do_not_belong_together(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1" / "00000.zip", 1), write(tmp_path / "2" / "00000.zip", 2)
    second.with_suffix(".parquet").replace(first.with_suffix(".parquet"))
    with pytest.raises(UserError, match="not written together"):
        read_verdicts(first)


def test_a_shard_where_nobody_was_found_keeps_its_columns(tmp_path: Path) -> None:
    rows = [{"person_id": "a", **PERSON, "people": 0, **vars(Verdict.rejected("no person found"))}]
    run_stage("people", Matting(), [], tmp_path / "people.parquet", schemas.PEOPLE, lambda: rows)
    table = read_table(tmp_path / "people.parquet")
    assert list(table.columns) == schemas.PEOPLE.names
    assert table["box"][0] is None
