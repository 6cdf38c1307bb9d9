"""Every photograph is either in the data set or listed with stage and reason."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ag3d.core.errors import UserError
from ag3d.core.files import read_table, write_table
from ag3d.core.shards import write_shard
from ag3d.preprocessing import schemas
from ag3d.preprocessing.dataset import rejected

STAGES = ("photos", "people", "matting", "fitting", "alignment", "normals")


def data_set(folder: Path, fate: dict[str, str], shard: str = "00000") -> None:
    """Files of every stage; `fate` says at which stage each photograph is left out, or 'dataset'."""
    alive = dict(fate)
    for stage in STAGES:
        verdicts = {
            name: {"status": "rejected", "reason": f"bad at {stage}", "value": 0.25}
            if where == stage
            else {"status": "ok", "reason": "", "value": None}
            for name, where in alive.items()
        }
        rows = [{"photo_id": n, "person_id": n, "path": f"{n}.jpg", **v} for n, v in verdicts.items()]
        columns = ["photo_id", "person_id", "path", "status", "reason", "value"]
        write_table(folder / stage / f"{shard}.parquet", pd.DataFrame(rows, columns=columns), {})
        alive = {name: where for name, where in alive.items() if where != stage}
    with write_shard(folder / "dataset" / f"{shard}.zip", {}) as output:
        for name, where in alive.items():
            if where == "dataset":
                output.add(f"img_{name}.png", b"")
                output.add(f"normal_{name}.png", b"")
        output.add_json("dataset.json", {"labels": {}})


def test_each_photograph_is_listed_at_the_stage_that_left_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = {f"p{i}-{stage}": stage for i, stage in enumerate((*STAGES, "dataset"))}
    data_set(tmp_path, fate)
    data_set(tmp_path, {"q-1": "dataset", "q-2": "people"}, shard="00001")
    monkeypatch.setattr("sys.argv", ["rejected", "--folder", str(tmp_path), "--output", str(tmp_path / "r.parquet")])
    rejected.main()
    table = read_table(tmp_path / "r.parquet")
    assert list(table.columns) == ["photo_id", "path", "stage", "reason", "value"]
    found = dict(zip(table["photo_id"], table["stage"], strict=True))
    assert found == {**{n: s for n, s in fate.items() if s != "dataset"}, "q-2": "people"}
    assert (table["reason"] == "bad at " + table["stage"]).all()
    assert (table["value"] == 0.25).all()


def test_a_photograph_that_vanishes_is_an_error(tmp_path: Path) -> None:
    data_set(tmp_path, {"a-1": "dataset", "b-2": "nowhere"})
    with pytest.raises(RuntimeError, match="b-2"):
        rejected.gather(tmp_path)


def test_nothing_left_out_gives_an_empty_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data_set(tmp_path, {"a-1": "dataset"})
    with caplog.at_level("INFO"):
        table = rejected.gather(tmp_path)
    assert len(table) == 0
    assert "1 photographs, 1 people in the data set" in caplog.text
    assert list(table.columns) == schemas.REJECTED.names


def test_a_folder_without_shards_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no manifest"):
        rejected.gather(tmp_path)


def test_people_shown_twice_are_listed_with_whom_they_repeat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data_set(tmp_path, {"a-1": "dataset", "b-2": "dedup"})
    write_table(tmp_path / "dedup.parquet", pd.DataFrame([{"person_id": "b-2", "of": "a-1", "value": 7.0}]), {})
    with caplog.at_level("INFO"):
        table = rejected.gather(tmp_path)
    assert "2 photographs, 1 people in the data set" in caplog.text
    assert table["stage"].tolist() == ["dedup"]
    assert "a-1" in table["reason"][0]
    assert table["value"][0] == 7.0
