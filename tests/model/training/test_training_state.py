from __future__ import annotations

import json
import logging
import os

import pytest
import torch
from safetensors import SafetensorError

from ag3d.core.errors import UserError
from ag3d.model.training import training_state
from ag3d.model.training.training_state import StateStore, TrainingState, newest_state


def make(images, key="k"):
    tensors = {"a": torch.full((3, 2), float(images)), "b": torch.arange(4).float().reshape(2, 2).t()}
    return TrainingState(key, images, tensors, {"sums": {"x": [0.1, 3]}})


def test_round_trip_is_exact(tmp_path):
    path = StateStore(tmp_path).save(make(5))
    back = training_state.read_state(path)
    assert (back.key, back.images, back.values) == ("k", 5, {"sums": {"x": [0.1, 3]}})
    assert torch.equal(back.tensors["b"], make(5).tensors["b"])


def test_keeps_the_last_two(tmp_path):
    store = StateStore(tmp_path, keep=2)
    for images in (5, 90, 1000):
        store.save(make(images))
    assert [int(path.name) for path in store.folders()] == [90, 1000]
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "damage", ["flip", "cut", "no tensors", "no json", "bad json", "a digit", "types", "deep", "pipe"]
)
def test_damaged_newest_falls_back_with_a_warning(tmp_path, caplog, damage):
    store = StateStore(tmp_path)
    store.save(make(5))
    path = store.save(make(9))
    tensors, values = path / training_state.TENSORS, path / training_state.VALUES
    data = bytearray(tensors.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        tensors.write_bytes(data)
    elif damage == "cut":
        tensors.write_bytes(data[:-5])
    elif damage == "no tensors":
        tensors.unlink()
    elif damage == "a digit":
        values.write_text(values.read_text().replace("0.1", "0.2"))
    elif damage == "types":
        values.write_text('{"key": "k", "images": {}, "sha256": 3, "values": []}')
    elif damage == "deep":
        values.write_text("[" * 200_000)
    elif damage == "pipe":
        tensors.unlink()
        os.mkfifo(tensors)
    elif damage == "no json":
        values.unlink()
    else:
        values.write_text(values.read_text()[:20])
    with caplog.at_level(logging.WARNING):
        found = newest_state(store.folders(), "k", 100)
    assert found is not None
    assert found.images == 5
    assert str(path) in caplog.text


def test_foreign_and_later_states_are_not_resumed(tmp_path):
    store = StateStore(tmp_path)
    store.save(make(5, "other"))
    store.save(make(9))
    assert newest_state(store.folders(), "k", 8) is None
    assert newest_state(store.folders(), "k", 9).images == 9
    assert newest_state(store.folders(), "other", 9).images == 5


def test_forget_after(tmp_path):
    store = StateStore(tmp_path)
    store.save(make(5))
    store.save(make(9))
    (tmp_path / ".x.part").mkdir()
    store.forget_after(5)
    assert [path.name for path in tmp_path.iterdir()] == ["000000000005"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError('Io(Os { code: 28, message: "No space left on device" })'),
    ],
)
def test_full_disk_is_told_and_older_states_stay(tmp_path, monkeypatch, error):
    store = StateStore(tmp_path)
    store.save(make(5))

    def full(tensors, path):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(training_state, "save_file", full)
    with pytest.raises(UserError, match="no space left"):
        store.save(make(9))
    assert newest_state(store.folders(), "k", 100).images == 5
    assert [path.name for path in tmp_path.iterdir()] == ["000000000005"]


def test_state_json_is_plain(tmp_path):
    path = StateStore(tmp_path).save(make(5))
    assert json.loads((path / "state.json").read_text())["images"] == 5
