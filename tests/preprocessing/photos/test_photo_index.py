from __future__ import annotations

import pytest

from ag3d.core.errors import UserError
from ag3d.preprocessing.photos import photo_index


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b/a.jpg", "b/über straße.PNG", ".hidden.jpg", "notes.txt", "c/img_img.jpeg"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    return tmp_path


def test_lists_photographs_with_unique_safe_names(folder):
    entries = photo_index.list_photos(folder)
    assert [entry.path for entry in entries] == ["a.jpg", "b/a.jpg", "b/über straße.PNG", "c/img_img.jpeg"]
    names = [entry.photo_id for entry in entries]
    assert len(set(names)) == 4
    for name in names:
        assert name.isascii()
        assert "img" not in name.lower()
        assert "/" not in name
        assert " " not in name


def test_adding_a_photograph_touches_one_shard(folder):
    before = photo_index.fingerprints(folder, 8)
    (folder / "new.jpg").write_text("a new photograph")
    after = photo_index.fingerprints(folder, 8)
    assert [n for n in before if before[n] != after[n]] == [photo_index.shard_of(photo_index.photo_id("new.jpg"), 8)]


def test_a_possible_duplicate_touches_both_shards(folder):
    before = photo_index.fingerprints(folder, 64)
    (folder / "twin.jpg").write_text("a.jpg")
    after = photo_index.fingerprints(folder, 64)
    changed = {n for n in before if before[n] != after[n]}
    assert changed == {photo_index.shard_of(photo_index.photo_id(name), 64) for name in ("a.jpg", "twin.jpg")}


def test_wrong_folders_are_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        photo_index.list_photos(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no photographs"):
        photo_index.list_photos(tmp_path)
    (tmp_path / "f.jpg").touch()
    with pytest.raises(UserError, match="is a file"):
        photo_index.list_photos(tmp_path / "f.jpg")
