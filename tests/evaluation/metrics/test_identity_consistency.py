from __future__ import annotations

import numpy as np
import pytest
import torch

from ag3d.config import Network
from ag3d.evaluation.metrics import view_consistency
from ag3d.model.body import label as labels


def test_recognisable_people_share_little_and_strangers_all():
    random = np.random.default_rng(0)
    people = random.normal(size=(40, 64)).astype(np.float32)
    assert view_consistency.identity_distances(people, people) == pytest.approx([0.0] * 40)
    slightly = people + 0.1 * random.normal(size=people.shape)
    assert np.mean(view_consistency.identity_distances(people, slightly)) == pytest.approx(0.1 / np.sqrt(2), rel=0.1)
    strangers = random.normal(size=people.shape)
    assert np.mean(view_consistency.identity_distances(people, strangers)) == pytest.approx(1.0, abs=0.05)
    assert view_consistency.identity_distances(np.ones((3, 4)), np.ones((3, 4))) == []


def test_people_who_are_all_alike_have_no_identity(blazepose_folder, tiny_body):
    """A network that paints everybody the same, another for each camera, and one that paints each person in a colour."""

    class Painter:
        body = tiny_body
        settings = Network()

        def __init__(self, by_person: bool) -> None:
            self.by_person = by_person

        def planes(self, ws):
            return ws

        def synthesis(self, ws, label, planes):
            image = torch.ones(1, 3, 64, 64)
            noise = torch.Generator().manual_seed(int(1000 * abs(float(labels.split(label).cam2world.sum()))))
            color = ws if self.by_person else torch.rand(3, generator=noise) * 2 - 1
            image[:, :, 10:60, 20:44] = color.reshape(1, 3, 1, 1)
            return {"image": image}

    ws = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    orient = torch.tensor([[torch.pi, 0.0, 0.0]])
    label = labels.pack(torch.tensor([[0.0, 0.15, 0.0]]), orient, torch.zeros(1, 69), torch.zeros(1, 10))
    known = view_consistency.identity_consistency(Painter(True), ws, label, blazepose_folder)
    assert known == pytest.approx([0.0] * 4, abs=1e-6)
    assert view_consistency.identity_consistency(Painter(False), ws, label, blazepose_folder) == pytest.approx(
        [1.0] * 4
    )
    assert view_consistency.identity_consistency(Painter(True), ws[:1], label, blazepose_folder) == []
