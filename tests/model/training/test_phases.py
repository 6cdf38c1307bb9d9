from __future__ import annotations

import pytest
import torch

from ag3d.model.training import phases


def test_mixed_styles_meet_at_one_layer(make_trainer):
    training = make_trainer(style_mixing=1.0)
    z = torch.randn(2, 8)
    plain, cutoffs = training.G.mapping(z), set()
    for step in range(40):
        training.steps = step
        mixed = phases.mixed_ws(training, "G", z, range(2))
        same = (mixed == plain).all(dim=2)
        assert torch.equal(same[0], same[1])
        cutoff = int(same[0].sum())
        assert same[0, :cutoff].all()
        cutoffs.add(cutoff)
    assert cutoffs <= set(range(1, plain.shape[1]))
    assert len(cutoffs) > 3


def test_styles_mix_as_often_as_asked(make_trainer):
    training = make_trainer(style_mixing=0.3)
    z, mixed = torch.randn(1, 8), 0
    plain = training.G.mapping(z)
    for step in range(300):
        training.steps = step
        mixed += not torch.equal(phases.mixed_ws(training, "G", z, range(1)), plain)
    assert mixed / 300 == pytest.approx(0.3, abs=0.08)


def test_the_phases_train_their_own_network(make_trainer, uint8_batch):
    training = make_trainer(d_reg_interval=10**6, density_reg_every=10**6)
    training.steps = 1
    before = {name: value.clone() for name, value in training.tensors().items()}
    phases.generator_phase(training, 0.0)
    changed = {
        name.split("/")[0]
        for name, value in training.tensors().items()
        if not torch.equal(before.get(name, value), value)
    }
    assert changed == {"generator"}
    before = {name: value.clone() for name, value in training.tensors().items()}
    phases.discriminator_phase(training, uint8_batch, 0.0, [])
    changed = {
        name.split("/")[0]
        for name, value in training.tensors().items()
        if not torch.equal(before.get(name, value), value)
    }
    assert changed == {"discriminator"}
