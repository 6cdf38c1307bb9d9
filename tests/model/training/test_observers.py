from __future__ import annotations

import importlib.util
import sys
import time

import numpy as np
import pytest
from support.fake_loop import ticks_in, train

from ag3d.config import Machine
from ag3d.core.errors import UserError
from ag3d.core.shards import save_png
from ag3d.model.training.monitoring import check_observers, make_observers


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_told_at_once(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    check_observers(Machine())
    with pytest.raises(UserError, match=rf"machine\.{name} is true.*pip install {name}"):
        check_observers(Machine(**{name: True}))


def test_nothing_is_imported_unasked(tmp_path):
    assert make_observers(Machine(), tmp_path, 0, "key", {}) == []
    assert not {"tensorboard", "wandb"} & set(sys.modules)


class Notes:
    def __init__(self):
        self.rows, self.pictures = [], []

    def tick(self, row):
        self.rows.append(row)

    def picture(self, path, images):
        self.pictures.append((path.name, images))

    def close(self):
        pass


def test_they_get_every_row_and_picture(tmp_path):
    notes = Notes()
    ticks = ticks_in(tmp_path, 30, observers=[notes])
    train(ticks)
    assert notes.rows == ticks.run.metrics.rows()
    assert notes.pictures == [("picture.png", images) for images in (0, 10, 20, 30)]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    save_png(path, np.full((8, 12, 3), 77, np.uint8))
    return path


def test_tensorboard_shows_curves_and_previews(tmp_path, picture):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start in (0, 20):  # the first start was interrupted after 30 images, its state was saved at 20
        (board,) = make_observers(Machine(tensorboard=True), tmp_path, start, "key", {})
        for images in range(start + 10, start + 31, 10) if start else (10, 20, 30):
            board.tick({"images": images, "loss/G": images + start / 100})
        board.picture(picture, start)
        board.close()
    found = reading.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = [(event.step, round(event.value, 2)) for event in found.Scalars("loss/G")]
    assert curve == [(10, 10), (20, 20), (30, 30.2), (40, 40.2), (50, 50.2)]
    assert [event.step for event in found.Images("previews")] == [0, 20]


def test_weights_and_biases_offline(tmp_path, picture, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder = tmp_path / "my-run" / "train"
    folder.mkdir(parents=True)
    (run,) = make_observers(Machine(wandb=True), folder, 0, "key", {"training": {"r1_gamma": 5.0}})
    run.picture(picture, 10)
    run.tick({"images": 10, "loss/G": 1.5})
    run.close()
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    end = time.monotonic() + 20  # a process of its own writes it
    while b"loss/G" not in log.read_bytes() and time.monotonic() < end:
        time.sleep(0.1)
    assert b"my-run-key" in log.read_bytes()
    assert b"loss/G" in log.read_bytes()
    assert list(folder.glob("wandb/offline-run-*/files/media/images/previews*.png"))
