"""The index counts people and names the content, whatever made the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ag3d.core.errors import UserError
from ag3d.core.files import read_json, write_table
from ag3d.core.shards import write_shard
from ag3d.preprocessing.dataset import index


def shard(path: Path, people: dict[str, int], record: dict | None = None) -> Path:
    with write_shard(path, record or {}) as output:
        for name, shade in people.items():
            output.add_image(f"img_{name}.png", np.full((24, 24, 4), shade, np.uint8))
            output.add_image(f"normal_{name}.png", np.full((24, 24, 3), shade, np.uint8))
        output.add_json("dataset.json", {"labels": {f"img_{n}.png": [[0.0] * 25, [0.0] * 86] for n in people}})
    return path


def table(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        [("x", "x.jpg", stage, reason, None) for stage, reason in rows],
        columns=["photo_id", "path", "stage", "reason", "value"],
    )


def test_counts_resolution_version_and_rejections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [shard(tmp_path / "00000.zip", {}), shard(tmp_path / "00001.zip", {"a": 1, "b": 2})]
    write_table(tmp_path / "rejected.parquet", table(("people", "nobody"), ("fitting", "bad"), ("fitting", "bad")), {})
    options = ["--rejected", tmp_path / "rejected.parquet", "--version", 3, "--output", tmp_path / "index.json"]
    monkeypatch.setattr("sys.argv", ["index", *map(str, [*paths, *options])])
    index.main()
    content = read_json(tmp_path / "index.json")
    assert content["number"] == 2
    assert content["shards"] == {"00000": 0, "00001": 2}
    assert content["resolution"] == 24
    assert content["version"] == 3
    assert content["rejected"] == {"people": 1, "fitting": 2}


def test_the_hash_follows_the_content_and_nothing_else(tmp_path: Path) -> None:
    def content(folder: str, people: dict[str, int], record: dict) -> str:
        return index.index([shard(tmp_path / folder / "00000.zip", people, record)], table(), 1)["content"]

    first = content("a", {"a": 1, "b": 2}, {"code": "1"})
    assert content("b", {"b": 2, "a": 1}, {"code": "2"}) == first
    assert content("c", {"a": 1, "b": 3}, {"code": "1"}) != first
    assert content("d", {"a": 1, "c": 2}, {"code": "1"}) != first


def test_an_empty_data_set_is_an_error_with_the_top_reasons(tmp_path: Path) -> None:
    rows = table(("people", "no person found"), ("people", "no person found"), ("photos", "damaged file"))
    with pytest.raises(UserError, match=r"2 at people: no person found; 1 at photos: damaged file"):
        index.index([shard(tmp_path / "00000.zip", {})], rows, 1)
