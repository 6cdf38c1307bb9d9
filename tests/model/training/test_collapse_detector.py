from __future__ import annotations

import json
import logging

import pytest
import torch
from support.fake_loop import ticks_in, train

from ag3d.core.errors import UserError
from ag3d.model.training import training_state
from ag3d.model.training.monitoring import CollapseDetector, symptoms
from ag3d.model.training.previews import statistics
from ag3d.model.training.training_state import TrainingState

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
    detector, won = CollapseDetector(), {**WELL, "loss/D": 0.0}
    for number, (row, ticks, since) in enumerate(
        [(WELL, 0, 10), (won, 1, 10), (won, 2, 10), (WELL, 0, 40), (won, 1, 40), (won, 2, 40)], start=1
    ):
        detector.tick({**row, "images": 10 * number})
        assert (detector.ticks, detector.since) == (ticks, since)
    again = CollapseDetector()
    for number, row in enumerate([WELL, won, won], start=1):
        again.tick({**row, "images": 10 * number})
    assert (again.ticks, again.since) == (2, 10)


def test_pictures_count_until_the_next_pictures():
    detector = CollapseDetector()
    for row, ticks in [({"ema/variety": 0.0}, 1), ({}, 2), ({}, 3), ({"ema/variety": 0.2}, 0), ({}, 0)]:
        detector.tick({"images": 1, **row})
        assert detector.ticks == ticks


def test_statistics_of_pictures():
    same = torch.rand(1, 3, 8, 8).expand(4, 3, 8, 8)
    assert statistics(same)["ema/variety"] == pytest.approx(0, abs=1e-6)
    assert statistics(same)["ema/contrast"] == pytest.approx(float(same[0].std(correction=0)), rel=1e-4)
    flat = torch.tensor([-1.0, 1.0])[:, None, None, None].expand(2, 3, 8, 8)
    assert statistics(flat) == {"ema/variety": 1.0, "ema/contrast": 0.0}
    assert statistics(same[:1]) == {}


def test_a_collapsed_training_stops_and_keeps_the_last_good_state(tmp_path, caplog):
    ticks = ticks_in(tmp_path, 2000, patience=4)
    with caplog.at_level(logging.WARNING), pytest.raises(UserError) as caught:
        train(ticks)
    assert ticks.trainer.images == 80
    message = str(caught.value)
    assert "always tell generated people from real ones, for 4 ticks, since 40 images" in message
    assert str(tmp_path / "state" / "000000000040") in message
    assert [training_state.read_state(path).images for path in ticks.run.store.folders()] == [40, 76, 78]
    assert "stops if this lasts 4 ticks" in caplog.text


def test_a_training_that_recovers_goes_on_and_forgets(tmp_path):
    ticks = ticks_in(tmp_path, 40, patience=4)
    for row in [{"images": 10, "loss/D": 1e-5}, {"images": 20, "loss/D": 1e-5}]:
        ticks.run.metrics.append(row)
    ticks.run.store.save(TrainingState("key", 0, {}, {}))
    ticks.replay()
    assert (ticks.collapse.ticks, ticks.run.store.good) == (2, 0)
    train(ticks)
    assert ticks.collapse.ticks == 0
    assert [int(path.name) for path in ticks.run.store.folders()] == [30, 36, 38]


def test_without_patience_nothing_stops(tmp_path):
    ticks = ticks_in(tmp_path, 200, patience=0)
    train(ticks)
    assert ticks.trainer.images == 200
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 20


def test_pictures_that_are_no_numbers_stop_it(tmp_path):
    ticks = ticks_in(tmp_path, 200, patience=0, pictures={"ema/variety": float("nan")})
    with pytest.raises(UserError, match="ema/variety stopped being a number"):
        train(ticks)
