"""Of people shown twice the sharper stays, and the rest is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from ag3d.files import read_table
from ag3d.preprocessing import alike
from ag3d.shards import write_shard


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
        with write_shard(tmp_path / f"aligned{number}.zip", {}) as output:
            output.add_json(
                "status.json",
                {
                    name: {
                        "status": "ok",
                        "fingerprint": people.get(name, (near(1), 1))[0],
                        "sharpness": people.get(name, ("", 1.0))[1],
                    }
                    for name in names
                },
            )
        with write_shard(tmp_path / f"normals{number}.zip", {}) as output:
            output.add_json("status.json", {n: {"status": "rejected" if n == "e-5" else "ok"} for n in names})
    options: list[str] = []
    for stage in ("aligned", "normals"):
        options += [f"--{stage}", f"{tmp_path}/{stage}0.zip", f"{tmp_path}/{stage}1.zip"]
    monkeypatch.setattr("sys.argv", ["alike", *options, "--output", f"{tmp_path}/alike.parquet"])
    alike.main()
    table = read_table(tmp_path / "alike.parquet")
    assert table.to_dict("records") == [
        {"person_id": "a-1", "of": "b-2", "value": 10.0}
    ]  # e-5 has no normals: it shows nobody


def test_nobody_and_everybody() -> None:
    assert len(alike.alike({}, 16)) == 0
    people = {f"p{k}": (near(3 * k), 0.5) for k in range(5)}
    assert len(alike.alike(people, 0)) == 0
    assert sorted(alike.alike(people, 3)["person_id"]) == ["p1", "p3"]  # p2 is far enough from p0
