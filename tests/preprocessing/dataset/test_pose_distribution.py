"""The pose distribution is the labels of all shards, in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ag3d.core.errors import UserError
from ag3d.core.shards import write_shard
from ag3d.model.avatars.identities import read_poses
from ag3d.preprocessing.dataset import pose_distribution


def shard(path: Path, names: dict[str, float]) -> Path:
    with write_shard(path, {}) as output:
        rows = {f"img_{n}.png": [[v] * 25, [v + 0.1] * 86] for n, v in names.items()}
        output.add_json("dataset.json", {"labels": rows})
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["poses", *map(str, arguments)])
    pose_distribution.main()


def test_all_labels_are_stacked_as_float32_by_shard_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = shard(tmp_path / "00000.zip", {"b": 2.0, "a": 1.0})
    second = shard(tmp_path / "00001.zip", {"c": 3.0})
    run(monkeypatch, second, first, "--output", tmp_path / "poses.npy")
    array = np.load(tmp_path / "poses.npy", allow_pickle=False)
    assert array.shape == (3, 111)
    assert array.dtype == np.float32
    np.testing.assert_allclose(array[:, 0], [1, 2, 3])
    np.testing.assert_allclose(array[:, 25], [1.1, 2.1, 3.1], rtol=1e-6)


def test_an_empty_data_set_is_an_error_that_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = shard(tmp_path / "00000.zip", {})
    with pytest.raises(UserError, match=r"rejected\.parquet"):
        run(monkeypatch, empty, "--output", tmp_path / "poses.npy")
    assert not (tmp_path / "poses.npy").exists()


def test_a_damaged_distribution_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = shard(tmp_path / "00000.zip", {"a": 1.0, "b": 2.0})
    run(monkeypatch, data, "--output", tmp_path / "poses.npy", "--record", tmp_path / "poses.json")
    assert len(read_poses(tmp_path / "poses.npy")) == 2
    content = bytearray((tmp_path / "poses.npy").read_bytes())
    content[-6] ^= 1
    (tmp_path / "poses.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged, or was replaced: poses\.json"):
        read_poses(tmp_path / "poses.npy")
