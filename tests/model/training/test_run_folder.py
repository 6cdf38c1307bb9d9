"""Whose training a folder holds, and what survives another one."""

from __future__ import annotations

import json
import logging

import pytest
import torch

from ag3d.config import Network, Training
from ag3d.config.renamed import old_names
from ag3d.config.stages import Stage
from ag3d.core.files import read_sealed
from ag3d.model.training.run_folder import RunFolder
from ag3d.model.training.stages import plan_stages
from ag3d.model.training.training_state import TrainingState, newest_state


def plan(data="photos-1", kimg=100.0, **changes):
    return plan_stages(Training(kimg=kimg, **changes), Network(), int(kimg * 1000), data, "body")


def stages(*gammas):
    """A stage for each weight, at 10, 20, … kimg."""
    return [Stage(from_kimg=10.0 * (number + 1), r1_gamma=gamma) for number, gamma in enumerate(gammas)]


def test_other_settings_set_the_training_aside_and_bring_it_back(tmp_path, caplog):
    run = RunFolder(tmp_path)
    run.adopt(plan(), "content")
    key = plan()[0].key
    (tmp_path / "metrics.jsonl").write_text("first\n")
    with caplog.at_level(logging.WARNING):
        run.adopt(plan(r1_gamma=9.0), "content")
    assert plan(r1_gamma=9.0)[0].key != key
    assert "training.r1_gamma" in caplog.text
    assert "starts from its own beginning" in caplog.text
    assert not (tmp_path / "metrics.jsonl").exists()
    assert (tmp_path / f"other-{key}" / "metrics.jsonl").read_text() == "first\n"
    run.adopt(plan(), "content")
    assert (tmp_path / "metrics.jsonl").read_text() == "first\n"


def test_more_kimg_and_more_photographs_go_on(tmp_path, caplog):
    run = RunFolder(tmp_path)
    run.adopt(plan(), "content")
    run.adopt(plan(kimg=999.0, milestones=7), "content")
    assert plan()[0].key == plan(kimg=999.0, milestones=7)[0].key
    assert not caplog.records
    run.adopt(plan(), "with more photographs")
    assert "changed since this training began" in caplog.text
    assert not list(tmp_path.glob("other-*"))


def test_a_folder_of_before_settings_were_renamed_goes_on(tmp_path, caplog):
    def under_old_names(science):
        first = {new: old for section in ("training", "network") for old, new in old_names(section)}
        parts = {name: {first.get(key, key): v for key, v in science[name].items()} for name in ("training", "network")}
        return {**science, **parts}

    (stage,) = plan()
    content = {"keys": [stage.key], "sciences": [under_old_names(stage.science)], "content": "content"}
    assert "gamma" in content["sciences"][0]["training"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    run = RunFolder(tmp_path)
    run.adopt(plan(), "content")
    assert not caplog.records
    assert not list(tmp_path.glob("other-*"))
    (tmp_path / "run.json").write_text(json.dumps(content))
    run.adopt(plan(r1_gamma=9.0), "content")
    assert "another training (training.r1_gamma changed)" in caplog.text


def test_another_version_of_the_data_begins_anew():
    assert plan("photos-1")[0].key != plan("photos-2")[0].key


def test_later_stages_leave_the_earlier_ones_as_they_are(tmp_path, caplog):
    run = RunFolder(tmp_path)
    run.adopt(plan(kimg=10), "content")
    (tmp_path / "metrics.jsonl").write_text("first\n")
    run.adopt(plan(kimg=30, stages=stages(1.0, 2.0)), "content")  # stages that follow
    run.adopt(plan(kimg=10), "content")  # an early milestone is made again
    run.adopt(plan(kimg=30, stages=stages(1.0, 2.0)), "content")
    assert not caplog.records
    assert (tmp_path / "metrics.jsonl").read_text() == "first\n"
    run.adopt(plan(kimg=30, stages=stages(1.0, 3.0)), "content")  # another third stage
    assert "training.r1_gamma" in caplog.text
    assert "starts from the stage before" in caplog.text
    aside = tmp_path / f"other-{plan(kimg=30, stages=stages(1.0, 2.0))[-1].key}"
    for folder in (aside, tmp_path):
        assert (folder / "metrics.jsonl").read_text() == "first\n"
    (tmp_path / "metrics.jsonl").write_text("third\n")
    run.adopt(plan(kimg=25, stages=stages(1.0, 2.0)), "content")
    assert (tmp_path / "metrics.jsonl").read_text() == "first\n"


DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "a digit": lambda text: text.replace('"r1_gamma": 5.0', '"r1_gamma": 6.0') if "r1_gamma" in text else text[:-9],
    "a list": lambda text: "[]",
    "types": lambda text: '{"keys": 3, "sciences": {}}',
    "a way out": lambda text: '{"keys": ["../../away"], "sciences": [{"training": {}, "network": {}}], "content": ""}',
    "a settings' list": lambda text: '{"keys": ["k"], "sciences": [[]], "content": ""}',
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("own", [True, False])
def test_a_damaged_description_is_made_anew_from_the_states(tmp_path, caplog, damage, own):
    """The training goes on where the states are its own, and is set aside, whole, where they are another's."""
    run = RunFolder(tmp_path / "train")
    run.adopt(plan(), "content")
    before, path = plan()[0], tmp_path / "train" / "run.json"
    run.store.save(TrainingState(before.key, 64, {"a": torch.zeros(1)}, {"steps": 2}))
    path.write_text(DAMAGE[damage](path.read_text()))
    now = plan() if own else plan(r1_gamma=9.0)
    with caplog.at_level(logging.WARNING):
        run.adopt(now, "content")
    assert "made anew" in caplog.text
    folder = tmp_path / "train" if own else tmp_path / "train" / f"other-{before.key}"
    state = newest_state(RunFolder(folder).store.folders(), before.key, 100)
    assert state is not None
    assert state.images == 64
    assert read_sealed(path)["keys"] == [now[0].key]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["train"]
    caplog.clear()
    run.adopt(now, "content")
    assert not caplog.text
