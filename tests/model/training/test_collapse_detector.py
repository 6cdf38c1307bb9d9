from __future__ import annotations

import json
import logging

import pytest
import torch
from support.fake_loop import REQUEST, loop_in

from ag3d.core.errors import UserError
from ag3d.model.training import snapshot
from ag3d.model.training.collapse_detector import Health, symptoms
from ag3d.model.training.previews import statistics
from ag3d.model.training.snapshot import Snapshot

WELL = {"loss/D": 1.2, "loss/G": 0.8, "ema/variety": 0.1, "ema/contrast": 0.4}


def test_symptoms_are_named():
    assert symptoms(WELL) == []
    assert symptoms({"loss/D": 1.4}) == []
    for name, word in {
        "loss/D": "always tell",
        "loss/G": "always take",
        "ema/variety": "alike",
        "ema/contrast": "empty",
    }.items():
        assert word in symptoms({**WELL, name: 0.001})[0]


def test_ticks_are_counted_from_the_first_in_a_row():
    health, won = Health(), {**WELL, "loss/D": 0.0}
    for number, (row, ticks, since) in enumerate(
        [(WELL, 0, 10), (won, 1, 10), (won, 2, 10), (WELL, 0, 40), (won, 1, 40), (won, 2, 40)], start=1
    ):
        health.tick({**row, "images": 10 * number})
        assert (health.ticks, health.since) == (ticks, since)
    again = Health()
    again.replay([{**row, "images": 10 * number} for number, row in enumerate([WELL, won, won], start=1)])
    assert (again.ticks, again.since) == (2, 10)


def test_pictures_count_until_the_next_pictures():
    health = Health()
    for row, ticks in [({"ema/variety": 0.0}, 1), ({}, 2), ({}, 3), ({"ema/variety": 0.2}, 0), ({}, 0)]:
        health.tick({"images": 1, **row})
        assert health.ticks == ticks


def test_statistics_of_pictures():
    same = torch.rand(1, 3, 8, 8).expand(4, 3, 8, 8)
    assert statistics(same)["ema/variety"] == pytest.approx(0, abs=1e-6)
    assert statistics(same)["ema/contrast"] == pytest.approx(float(same[0].std(correction=0)), rel=1e-4)
    flat = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8)
    assert statistics(flat) == {"ema/variety": 1.0, "ema/contrast": 0.0}
    assert statistics(same[:1]) == {}


def test_a_collapsed_training_stops_and_keeps_the_last_good_state(tmp_path, caplog):
    loop = loop_in(tmp_path, patience=4)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError) as caught:
        loop.until(1000, [None] * 1000, REQUEST)
    assert loop.trainer.images == 80
    message = str(caught.value)
    assert "always tell generated people from real ones, for 4 ticks, since 40 images" in message
    assert str(tmp_path / "state" / "000000000040") in message
    assert [snapshot.read(path).images for path in loop.run.store.folders()] == [40, 76, 78]
    assert "stops if this lasts 4 ticks" in caplog.text


def test_a_training_that_recovers_goes_on_and_forgets(tmp_path):
    loop = loop_in(tmp_path, patience=4)
    for row in [{"images": 10, "loss/D": 1e-5}, {"images": 20, "loss/D": 1e-5}]:
        loop.run.metrics.append(row)
    loop.run.store.save(Snapshot("key", 0, {}, {}))
    loop.recall()
    assert (loop.health.ticks, loop.run.store.good) == (2, 0)
    loop.until(20, iter([None] * 20), REQUEST)
    assert loop.health.ticks == 0
    assert [int(path.name) for path in loop.run.store.folders()] == [30, 36, 38]


def test_without_patience_nothing_stops(tmp_path):
    loop = loop_in(tmp_path, patience=0)
    loop.until(100, [None] * 100, REQUEST)
    assert loop.trainer.images == 200
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 20


def test_pictures_that_are_no_numbers_stop_it(tmp_path):
    loop = loop_in(tmp_path, patience=0, pictures={"ema/variety": float("nan")})
    with pytest.raises(UserError, match="ema/variety stopped being a number"):
        loop.until(100, [None] * 100, REQUEST)
