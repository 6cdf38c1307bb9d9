"""Of people shown twice the sharper stays, and the rest is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.stage_tables import write_verdicts

from ag3d.core.errors import UserError
from ag3d.core.files import read_table
from ag3d.core.shards import write_shard
from ag3d.preprocessing import schemas
from ag3d.preprocessing.dataset import dedup


def near(number: int) -> str:
    """A fingerprint that differs in `number` bits from that of zeros."""
    return f"{(1 << number) - 1:064x}"


def test_the_sharper_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = {
        "a-1": (near(0), 0.5),
        "b-2": (near(10), 0.6),  # a sharper copy of a-1
        "c-3": (near(30), 0.9),  # far from both
        "d-4": ("f" * 64, 0.4),
    }
    shards = ({"a-1", "c-3"}, {"b-2", "d-4", "e-5"})
    for number, names in enumerate(shards):
        crops = {n: dict(zip(("phash", "sharpness"), people.get(n, (near(1), 1.0)), strict=True)) for n in names}
        maps = {n: {"status": "rejected" if n == "e-5" else "ok"} for n in names}
        for stage, schema, rows in (("alignment", schemas.ALIGNED, crops), ("normals", schemas.NORMALS, maps)):
            with write_shard(tmp_path / f"{stage}{number}.zip", {}):
                pass
            write_verdicts(tmp_path / f"{stage}{number}.zip", schema, rows)
    options: list[str] = []
    for option, stage in (("--aligned", "alignment"), ("--normals", "normals")):
        options += [option, f"{tmp_path}/{stage}0.parquet", f"{tmp_path}/{stage}1.parquet"]
    monkeypatch.setattr("sys.argv", ["dedup", *options, "--output", f"{tmp_path}/dedup.parquet"])
    dedup.main()
    table = read_table(tmp_path / "dedup.parquet")
    assert table.to_dict("records") == [
        {"person_id": "a-1", "of": "b-2", "value": 10.0}
    ]  # e-5 has no normals: it shows nobody


def test_nobody_and_everybody() -> None:
    assert len(dedup.find_duplicates({}, 16)) == 0
    people = {f"p{k}": (near(3 * k), 0.5) for k in range(5)}
    assert len(dedup.find_duplicates(people, 0)) == 0
    assert sorted(dedup.find_duplicates(people, 3)["person_id"]) == ["p1", "p3"]  # p2 is far enough from p0


@pytest.mark.parametrize("most", [0, 1, 15, 16, 31, 40, 256])
def test_as_comparing_everybody_with_everybody(most: int) -> None:
    """Originals, and copies of them that differ in up to twice as many bits."""
    dice = np.random.default_rng(most)
    originals = dice.integers(0, 2, (12, 256))
    prints = originals[dice.integers(0, 12, 150)]
    for row in prints:
        row[dice.choice(256, dice.integers(0, min(2 * most + 2, 256)), replace=False)] ^= 1
    people = {
        f"p{k:03d}": (np.packbits(row).tobytes().hex(), float(sharp))
        for k, (row, sharp) in enumerate(zip(prints, dice.integers(0, 9, 150), strict=True))
    }
    kept: list[str] = []
    expected = {}
    for name in sorted(people, key=lambda name: (-people[name][1], name)):
        apart = [int(np.sum(prints[int(name[1:])] != prints[int(other[1:])])) for other in kept]
        if apart and min(apart) <= most:
            expected[name] = (kept[apart.index(min(apart))], float(min(apart)))
        else:
            kept.append(name)
    found = dedup.find_duplicates(people, most)
    assert {row.person_id: (row.of, row.value) for row in found.itertuples()} == expected


@pytest.mark.parametrize(
    "row", [{"phash": None, "sharpness": 1.0}, {"phash": "0f", "sharpness": 1.0}, {"phash": near(1)}]
)
def test_a_table_without_a_hash_is_named(tmp_path: Path, row: dict) -> None:
    for stage, schema, values in (("alignment", schemas.ALIGNED, row), ("normals", schemas.NORMALS, {})):
        with write_shard(tmp_path / f"{stage}.zip", {}):
            pass
        write_verdicts(tmp_path / f"{stage}.zip", schema, {"a-1": values})
    with pytest.raises(UserError, match="alignment.parquet: a-1 has no hash or sharpness"):
        dedup.read_people([tmp_path / "alignment.parquet"], [tmp_path / "normals.parquet"])
