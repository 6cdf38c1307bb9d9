from __future__ import annotations

import errno
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ag3d.core import console, files, shards
from ag3d.core.errors import UserError
from ag3d.core.files import atomic, read_sealed, write_json, write_sealed
from ag3d.core.shards import shard_files


def test_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(target) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_not(tmp_path):
    code = """
import os, signal, sys
from ag3d.core.files import atomic
with atomic(sys.argv[1]) as beside:
    beside.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    target = tmp_path / "table.zip"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with atomic(target) as first:
        first.write_text("first")
        with atomic(target) as second:
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"
    assert list(tmp_path.iterdir()) == [target]


def test_files_get_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    with atomic(tmp_path / "ours") as beside:
        beside.touch(mode=0o600)
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_shards_beyond_the_number_and_half_files_are_not_read(tmp_path):
    for name in ("00000.zip", "00001.zip", "00002.zip", ".00000.x.part.zip"):
        (tmp_path / name).touch()
    assert [path.stem for path in shard_files(tmp_path, ".zip")] == ["00000", "00001", "00002"]
    assert [path.stem for path in shard_files(tmp_path, ".zip", 2)] == ["00000", "00001"]


def test_full_disk_is_a_user_error(tmp_path):
    target = tmp_path / "a.txt"
    with pytest.raises(UserError, match="no space left"), files.atomic(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_table_carries_its_record(tmp_path):
    path = tmp_path / "t.parquet"
    files.write_table(path, pd.DataFrame({"a": [1, 2], "b": [[1.0], [2.0, 3.0]]}), {"stage": "x"})
    assert files.read_table(path)["a"].tolist() == [1, 2]
    assert files.read_record(path) == {"stage": "x"}
    path.write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"t\.parquet"):
        files.read_table(path)


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "x.json", {"v": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_images_come_back_exactly(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "s.zip"
    with shards.write_shard(path, {"stage": "x"}) as shard:
        shard.add_image("a.png", image)
    reader = shards.ShardReader(path)
    assert np.array_equal(reader.image("a.png"), image)
    assert reader.record() == {"stage": "x"}
    with pytest.raises(UserError, match="no entry 'b.png'"):
        reader.read("b.png")


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("1.zip", "2.zip"):
        with shards.write_shard(tmp_path / name, {}) as shard:
            shard.add("x", b"abc")
    assert files.sha256(tmp_path / "1.zip") == files.sha256(tmp_path / "2.zip")


def test_damaged_shards_are_told(tmp_path):
    path = tmp_path / "s.zip"
    with shards.write_shard(path, {}) as shard:
        shard.add("x", bytes(1000))
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        shards.ShardReader(path).read("x")
    path.write_bytes(data[:600])
    with pytest.raises(UserError, match="not a whole zip"):
        shards.ShardReader(path)


def test_user_errors_are_one_line_and_status_2(capsys):
    def main():
        raise UserError("the file x is missing")

    with pytest.raises(SystemExit) as caught:
        console.run(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err.strip().endswith("error: the file x is missing")


def test_a_changed_digit_of_a_sealed_file_is_noticed(tmp_path):
    path = tmp_path / "state.json"
    content = {"steps": 5, "rate": 0.1, "nested": {"b": (1, 2), "a": None}}
    write_sealed(path, content)
    assert read_sealed(path) == {"steps": 5, "rate": 0.1, "nested": {"b": [1, 2], "a": None}}
    path.write_text(path.read_text().replace('"steps": 5', '"steps": 13'))
    with pytest.raises(UserError, match="damaged or changed"):
        read_sealed(path)
    write_json(path, content)
    assert read_sealed(path)["steps"] == 5  # of a version that wrote no checksum
    write_json(path, [content])
    with pytest.raises(UserError, match="JSON object"):
        read_sealed(path)


def test_a_cache_without_a_home_is_the_users_own(monkeypatch, tmp_path):
    monkeypatch.delenv("AG3D_CACHE", raising=False)
    monkeypatch.setattr(files.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))  # no folder can be made in it
    folder = files.cache_folder()
    assert folder == tmp_path / f"ag3d-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(UserError, match="belongs to somebody else"):
        files.cache_folder()
