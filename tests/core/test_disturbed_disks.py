"""A full disk and one that cannot be written to, as real file systems: a clear error, status 2, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ag3d.core.shards import write_shard

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from ag3d.core import console
from ag3d.core.files import atomic_folder, write_json
from ag3d.core.shards import write_shard

def main():
    place, kind = Path(sys.argv[1]), sys.argv[2]
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    if kind == "shard":
        with write_shard(place / "00000.zip", {}) as writer:
            for index in range(8):
                writer.add_image(f"img_{index}.png", noise)
    elif kind == "text":
        write_json(place / "x.json", ["x" * 2**20])
    else:
        with atomic_folder(place / "new") as folder:
            (folder / "a").write_bytes(bytes(2**20))

console.run(main)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a file system here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def write(place: Path, kind: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", SCRIPT, str(place), kind], capture_output=True, text=True)


@pytest.mark.parametrize("kind", ["shard", "text", "folder"])
def test_a_full_disk(small_disk, kind):
    told = write(small_disk, kind)
    assert told.returncode == 2, told.stderr
    assert "no space left" in told.stderr
    assert "Traceback" not in told.stderr
    assert list(small_disk.iterdir()) == []


def test_what_was_there_stays(small_disk):
    with write_shard(small_disk / "00000.zip", {}) as writer:
        writer.add_image("img_0.png", np.zeros((8, 8, 3), np.uint8))
    before = (small_disk / "00000.zip").read_bytes()
    assert write(small_disk, "shard").returncode == 2
    assert [path.name for path in small_disk.iterdir()] == ["00000.zip"]
    assert (small_disk / "00000.zip").read_bytes() == before


@pytest.mark.parametrize("kind", ["shard", "text", "folder"])
def test_a_disk_that_cannot_be_written_to(small_disk, kind):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    told = write(small_disk, kind)
    assert told.returncode == 2, told.stderr
    assert "Read-only file system: allow it, or choose another folder" in told.stderr
    assert str(small_disk) in told.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied: allow it" in write(tmp_path, "text").stderr
