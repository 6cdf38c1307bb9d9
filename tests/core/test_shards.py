"""What names a data set's content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ag3d.core.shards import ShardReader, content_hash, write_shard


def shard(path: Path, shades: dict[str, int]) -> ShardReader:
    with write_shard(path, {"made": path.name}) as output:
        for name, shade in shades.items():
            output.add_image(name, np.full((8, 8, 3), shade, np.uint8))
    return ShardReader(path)


def test_the_content_is_named_without_reading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shard(tmp_path / "0.zip", {"a.png": 1}), shard(tmp_path / "1.zip", {"b.png": 2})
    other = shard(tmp_path / "2.zip", {"b.png": 3})
    monkeypatch.setattr(ShardReader, "read", lambda *_: pytest.fail("an entry was read"))
    name = content_hash([first, second])
    assert content_hash([second, first]) == name
    assert content_hash([first, other]) != name
    assert content_hash([first]) != name
