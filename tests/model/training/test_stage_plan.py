from __future__ import annotations

import dataclasses

import pytest

from ag3d.config import Network, Training, load
from ag3d.config.stages import Stage
from ag3d.core.errors import UserError
from ag3d.model.training.stages import plan_stages

STAGES = [Stage(10.0, image_resolution=128, normal_weight=0.5), Stage(20.0, use_face_discriminator=False, r1_gamma=1.0)]


def plan(kimg, stages=STAGES, **settings):
    training = Training(kimg=kimg, batch_size=8, stages=stages, **settings)
    return plan_stages(training, Network(image_resolution=64, face_fraction=4), round(kimg * 1000), "data", "body")


def test_settings_hold_from_their_stage_on():
    first, second, third = plan(30)
    assert [(part.start, part.end) for part in (first, second, third)] == [(0, 10000), (10000, 20000), (20000, 30000)]
    assert [part.network.image_resolution for part in (first, second, third)] == [64, 128, 128]
    assert [part.network.use_face_discriminator for part in (first, second, third)] == [True, True, False]
    assert [part.training.normal_weight for part in (first, second, third)] == [1.0, 0.5, 0.5]
    assert [part.training.r1_gamma for part in (first, second, third)] == [5.0, 5.0, 1.0]


def test_stages_begin_at_whole_steps():
    stages = [Stage(10.001, r1_gamma=1.0)]
    first, second = plan(30, stages)
    assert first.end == second.start == 10008


@pytest.mark.parametrize(("kimg", "number"), [(0, 1), (9, 1), (10, 1), (10.008, 2), (20, 2), (21, 3)])
def test_a_milestone_needs_the_stages_before_it(kimg, number):
    found = plan(kimg)
    assert len(found) == number
    assert found[-1].end == round(kimg * 1000)


def test_a_key_stays_what_it_is_when_settings_are_renamed():
    """Otherwise a training of days would begin anew: states that were saved before name their science by it.

    A setting that is added changes it, unless it is left out of the science while it is at its default.
    """
    (stage,) = plan_stages(Training(), Network(), 1000, "data", "body")
    assert stage.key == "3e71e1efae66c14b"


def test_keys_depend_on_what_came_before_and_on_nothing_later():
    whole = [part.key for part in plan(30)]
    assert len(set(whole)) == 3
    assert [part.key for part in plan(15)] == whole[:2]
    assert [part.key for part in plan(30, STAGES[:1])] == whole[:2]
    assert [part.key for part in plan(30, milestones=9)] == whole

    def changed(number, **change):
        stages = list(STAGES)
        stages[number] = dataclasses.replace(stages[number], **change)
        keys = [part.key for part in plan(30, stages)]
        return [a == b for a, b in zip(keys, whole, strict=True)]

    assert changed(1, r1_gamma=2.0) == [True, True, False]
    assert changed(1, from_kimg=21.0) == [True, True, False]
    assert changed(0, normal_weight=0.6) == [True, False, False]
    assert changed(0, from_kimg=11.0) == [True, False, False]
    assert plan(30, seed=1)[0].key != whole[0]


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"from_kimg": 5}], ["training.stages[0]", "changes nothing"]),
        ([{"r1_gamma": 5}], ["training.stages[0].from_kimg", "more than 0"]),
        (
            [{"from_kimg": 5, "r1_gamma": 1}, {"from_kimg": 5, "r1_gamma": 2}],
            ["training.stages[1].from_kimg", "more than 5"],
        ),
        ([{"from_kimg": 5, "image_resolution": 100}], ["image_resolution", "power of two", "training.stages[0]"]),
        ([{"from_kimg": 5, "kimg": 100}], ["training.stages[0].kimg", "from_kimg"]),
        ([{"from_kimg": 5, "r1_gamma": "much"}], ["training.stages[0].r1_gamma"]),
    ],
)
def test_wrong_stages_are_told_at_once(stages, words):
    with pytest.raises(UserError) as caught:
        load({"training": {"stages": stages}})
    for word in words:
        assert word in str(caught.value)
