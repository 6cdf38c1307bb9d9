"""Where the training leaves the reference it does better."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from ag3d.config.network import Departures
from ag3d.model.networks.stylegan2_layers import normalize_second_moment
from ag3d.model.training import losses, phases, stages


def test_reuse_fakes_spares_a_generation(make_trainer, uint8_batch):
    made = []
    for reuse in (False, True):
        training, calls = make_trainer(reuse_fakes=reuse), []
        synthesis = training.G.synthesis
        training.G.synthesis = lambda *a, synthesis=synthesis, calls=calls, **k: calls.append(1) or synthesis(*a, **k)
        training.step(uint8_batch)
        made.append(len(calls))
    assert made == [2, 1]


def test_steady_noise_leaves_the_choice_to_the_latent_code(make_trainer, tiny_network):
    """Of one latent code, two steps make the same planes; with random noise they do not."""
    differences = []
    for steady in (True, False):
        training = make_trainer(replace(tiny_network, departures=Departures(steady_noise=steady)))
        with torch.no_grad():
            training.G.backbone.synthesis.b4.conv1.noise_strength.fill_(1.0)
        seen = []
        training.G.backbone.synthesis.register_forward_hook(lambda *a, seen=seen: seen.append(a[2].detach()))
        z, label = phases.sample_latents(training, "G")
        for _ in phases.chunks(training, "G"):
            for _ in range(2):
                phases.generate(training, "G", z, label, range(len(z)))
        differences.append(float((seen[0] - seen[1]).abs().max()))
    assert differences[0] == 0
    assert differences[1] > 0.01


def test_beta_rate_slows_the_densitys_width_alone(make_trainer, uint8_batch):
    moved, others = [], []
    for rate in (1.0, 0.1):
        training = make_trainer(beta_lr_mult=rate)
        beta, weight = training.G.renderer.sigmoid_beta, training.G.decoder.layers[0].weight
        before = beta.detach().clone(), weight.detach().clone()
        training.step(uint8_batch)
        moved.append(float((beta.detach() - before[0]).abs()))
        others.append(float((weight.detach() - before[1]).abs().mean()))
    assert 0 < moved[1] < 0.2 * moved[0]
    assert others[1] > 0.5 * others[0]


def test_body_prior_holds_the_surface_near_the_body(make_trainer, uint8_batch):
    """Without it the surface wanders, how far is chance: hence three trainings each."""
    residuals = []
    for weight in (0.0, 10.0):
        found = []
        for seed in range(3):
            training = make_trainer(body_prior=weight, density_reg_every=1, seed=seed)
            for _ in range(12):
                training.step(uint8_batch)
            torch.manual_seed(5)
            with torch.no_grad():
                found.append(float(losses.body_sdf_prior(training.G, training.G.mapping(torch.randn(4, 8)))))
        residuals.append(found)
    assert sum(residuals[1]) < 0.3 * sum(residuals[0])
    assert max(residuals[1]) < 0.5


@pytest.mark.slow
def test_diversity_keeps_colours_of_latent_codes_apart(make_trainer, uint8_batch):
    """In three trainings each: how different people start is chance."""
    found = [0.0, 0.0]
    for place, weight in enumerate((0.0, 1.0)):
        for seed in range(3):
            training = make_trainer(diversity=weight, density_reg=0.01, density_reg_every=1, seed=seed)
            for _ in range(24):
                training.step(uint8_batch)
            torch.manual_seed(5)
            with torch.no_grad():
                planes = training.G.planes(training.G.mapping(torch.randn(8, 8)))
                found[place] += float(losses.color_differences(training.G, *planes.chunk(2)).mean())
    assert found[1] > 1.4 * found[0]


def test_diversity_fades(make_trainer):
    settings = make_trainer(diversity=0.4, diversity_kimg=2.0).settings
    assert [stages.diversity_weight(settings, images) for images in (0, 1000, 2000, 9000)] == [0.4, 0.2, 0, 0]


def test_plain_mapping_takes_the_latent_code_alone(make_trainer, uint8_batch, tiny_network):
    """A step of the training leaves the mapping's input as it was; with an empty condition half of it is new."""
    shares = []
    for plain in (True, False):
        training = make_trainer(replace(tiny_network, departures=Departures(plain_mapping=plain)))
        for _ in range(2):
            training.step(uint8_batch)
        seen = []
        training.G.backbone.mapping.fc0.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        z = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            training.G.mapping(z)
        assert torch.equal(seen[0][:, :8], normalize_second_moment(z))
        constant = seen[0][:, 8:]
        shares.append(float(constant.square().sum() / seen[0].square().sum()))
    assert shares[0] == 0
    assert shares[1] > 0.3


def test_face_weight_counts():
    logits = {"full": torch.ones(1, 1), "face": torch.full((1, 1), 10.0), "normal_face": torch.full((1, 1), 100.0)}
    assert losses.total_logit(logits, losses.head_weights(normal_weight=0.5, face_weight=0.5)) == 1 + 5 + 25


def test_style_mixing_and_minimal_surface_train(make_trainer, uint8_batch):
    training = make_trainer(style_mixing=1.0, minimal_surface=0.1, density_reg_every=1)
    training.step(uint8_batch)
    means = training.averages.means()
    assert 0 < means["loss/minimal_surface"] <= 1
    assert all(math.isfinite(value) for value in means.values())


def test_micro_batches_give_the_gradient_of_the_whole_batch(make_trainer, uint8_batch):
    gradients = []
    for micro_batch in (0, 1):
        training = make_trainer(micro_batch=micro_batch)
        phases.r1_phase(training, uint8_batch, 0.0)
        gradients.append(torch.cat([p.grad.flatten() for p in training.D.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5 * float(gradients[0].abs().max()))


def test_a_resumed_training_is_the_same_training(make_trainer, uint8_batch):
    straight, first, second = make_trainer(), make_trainer(), make_trainer(seed=0)
    for _ in range(3):
        straight.step(uint8_batch)
    for _ in range(2):
        first.step(uint8_batch)
    second.restore(first.tensors(), first.values())
    second.step(uint8_batch)
    for name, value in straight.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
