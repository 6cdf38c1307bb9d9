"""The photographs appear at once, and nothing of the user's goes."""

from __future__ import annotations

import pytest

from ag3d.core.errors import UserError
from ag3d.core.files import atomic_folder
from ag3d.preprocessing.synthetic.__main__ import check_folder


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    check_folder(tmp_path / "absent")
    for name in ("person_00001.jpg", ".snakemake_timestamp"):
        (tmp_path / name).touch()
    check_folder(tmp_path)
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"holds other files \(holiday.jpg\)"):
        check_folder(tmp_path)


def test_the_folder_is_replaced_when_the_new_one_is_whole(tmp_path):
    target = tmp_path / "photos"
    target.mkdir()
    (target / "old.jpg").touch()
    with pytest.raises(RuntimeError), atomic_folder(target, replace=True) as folder:
        (folder / "new.jpg").touch()
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["old.jpg"]
    with atomic_folder(target, replace=True) as folder:
        (folder / "new.jpg").touch()
    assert [path.name for path in target.iterdir()] == ["new.jpg"]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
