"""Every loss alone, against a closed form."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ag3d.config import Network, Training
from ag3d.model.ops.resize import resize
from ag3d.model.training import discriminator_inputs, losses
from ag3d.model.training.discriminator_graphs import DiscriminatorGraphs
from ag3d.model.training.discriminator_inputs import DiscriminatorBatch


class Field:
    """A stand-in for the generator: `function` of points [B,N,3] is its signed value or density."""

    def __init__(self, function, deformer=None):
        self.function, self.deformer = function, deformer

    def field(self, points, ws, planes, sdf_only):
        return {name: self.function(points) for name in ("sdf", "density")}


def test_adversarial_losses_are_softplus():
    logit = torch.tensor([[-2.0], [0.0], [3.0]], dtype=torch.float64, requires_grad=True)
    expected = [math.log1p(math.exp(2)), math.log(2), math.log1p(math.exp(-3))]
    assert losses.generator_loss(logit).flatten().tolist() == pytest.approx(expected)
    assert losses.discriminator_real_loss(logit).flatten().tolist() == pytest.approx(expected)
    assert losses.discriminator_fake_loss(-logit).flatten().tolist() == pytest.approx(expected)
    losses.generator_loss(logit).sum().backward()
    assert logit.grad.flatten().tolist() == pytest.approx([-1 / (1 + math.exp(x)) for x in (-2, 0, 3)])


def test_a_far_logit_still_teaches_the_generator():
    logit = torch.tensor([[-100.0]], requires_grad=True)
    losses.generator_loss(logit).sum().backward()
    assert float(logit.grad) == pytest.approx(-1)  # the saturating form would have no gradient left


def test_one_loss_of_the_weighted_sum():
    logits = {"full": 1.0, "normal": 2.0, "face": 3.0, "normal_face": 4.0}
    logits = {name: torch.full((2, 1), value) for name, value in logits.items()}
    total = losses.total_logit(logits, losses.head_weights(normal_weight=0.1, face_weight=0.5))
    assert total.flatten().tolist() == pytest.approx([1 + 0.2 + 1.5 + 0.2] * 2)
    assert losses.total_logit({"full": logits["full"]}, losses.head_weights(0.1, 0.5)).flatten().tolist() == [1, 1]


def test_the_faces_normals_can_have_a_weight_of_their_own():
    """So that the normal maps' discriminator alone can be switched off."""
    logits = {name: torch.ones(1, 1) for name in ("full", "normal", "face", "normal_face")}
    assert float(losses.total_logit(logits, losses.head_weights(normal_weight=0.0))) == 2
    assert float(losses.total_logit(logits, losses.head_weights(normal_weight=0.0, face_normal_weight=0.5))) == 2.5
    assert float(losses.total_logit(logits, losses.head_weights(normal_weight=0.5, face_normal_weight=0.0))) == 2.5


def test_apart_a_head_that_is_sure_leaves_the_others_their_gradient():
    logits = {"full": torch.zeros(1, 1, requires_grad=True), "normal": torch.full((1, 1), -30.0, requires_grad=True)}
    weights = losses.head_weights(normal_weight=0.5)
    for apart, expected in ((False, 0.0), (True, 0.5)):
        loss = losses.adversarial(losses.discriminator_fake_loss, logits, weights, apart)
        (found,) = torch.autograd.grad(loss.sum(), [logits["full"]])
        assert float(found) == pytest.approx(expected, abs=1e-6)
    expected = [math.log(2) + 0.5 * math.log1p(math.exp(-30))]
    assert loss.flatten().tolist() == pytest.approx(expected)


def test_r1_weighs_the_inputs_as_the_heads_that_see_them():
    inputs = {name: torch.ones(1, 1, 2, 2, requires_grad=True) for name in losses.HEAD_OF}
    logit = sum(image.sum((1, 2, 3)) for image in inputs.values())
    weights = losses.head_weights(normal_weight=0.5, face_weight=0.25, face_normal_weight=2.0)
    assert losses.r1_penalty(logit, inputs, weights).tolist() == [4 * (1 + 1 + 0.5 + 0.25 + 2)]


def test_r1_is_the_squared_gradient_of_all_inputs():
    drawn = torch.Generator().manual_seed(0)
    inputs = {
        name: torch.randn(3, 2, 4, 4, generator=drawn, requires_grad=True) for name in ("image", "face", "unused")
    }
    a, b = torch.tensor(0.7, requires_grad=True), 1.5
    logit = a * inputs["image"].square().sum((1, 2, 3)) / 2 + b * inputs["face"].sum((1, 2, 3))
    penalty = losses.r1_penalty(logit, inputs)
    squares = inputs["image"].square().sum((1, 2, 3)).detach()
    assert torch.allclose(penalty, a.detach() ** 2 * squares + b**2 * 32)
    penalty.sum().backward()
    assert float(a.grad) == pytest.approx(2 * 0.7 * float(squares.sum()), rel=1e-5)


def test_eikonal_wants_unit_gradients():
    gradient = torch.tensor([[3.0, 0, 4.0], [0, 1.0, 0], [0, 0, 0]], requires_grad=True)
    assert float(losses.eikonal(gradient.detach())) == pytest.approx((16 + 0 + 1) / 3)
    assert float(losses.eikonal(gradient.detach(), empty=2)) == pytest.approx((16 + 0 + 1 + 2) / 5)
    losses.eikonal(gradient).backward()
    assert torch.allclose(gradient.grad[0], torch.tensor([0.6, 0, 0.8]) * 2 * 4 / 3)
    assert not gradient.grad[2].any()  # no direction, no push, no NaN
    assert float(losses.eikonal(torch.zeros(0, 3))) == 0


def test_density_points_are_pairs_in_the_cube():
    torch.manual_seed(0)
    first, second = losses.density_points(2, 5000, 0.004, torch.device("cpu")).chunk(2, dim=1)
    assert first.abs().max() <= 1
    assert first.std() == pytest.approx(1 / math.sqrt(3), rel=0.02)
    assert (second - first).std() == pytest.approx(0.004, rel=0.02)


def test_density_variation_of_a_slope():
    points = torch.rand(2, 100, 3)
    points = torch.cat([points, points + torch.tensor([0.01, 0, 0])], dim=1)
    assert float(losses.density_variation(Field(lambda p: 5 * p[..., 0]), None, points)) == pytest.approx(
        0.05, rel=1e-3
    )
    assert float(losses.density_variation(Field(lambda p: p[..., 1]), None, points)) == pytest.approx(0, abs=1e-7)


def test_minimal_surface_counts_what_is_near_zero():
    values = torch.tensor([0.0, 0.01, -0.01, 1.0])
    assert float(losses.minimal_surface(values)) == pytest.approx((1 + 2 * math.exp(-1)) / 4)
    assert float(losses.minimal_surface(values, sharpness=0)) == 1


def test_body_prior_is_the_squared_residual_in_its_unit():
    deformer = SimpleNamespace(vertices=torch.randn(50, 3), body_sdf=lambda p, gradient: (p.norm(dim=1), None))
    same, off = (Field(lambda p, d=d: p.norm(dim=2) + d, deformer) for d in (0.0, 0.1))
    ws = torch.zeros(2, 4, 8)
    assert float(losses.body_sdf_prior(same, ws)) == pytest.approx(0, abs=1e-8)
    assert float(losses.body_sdf_prior(off, ws)) == pytest.approx((0.1 / 0.05) ** 2, rel=1e-4)


@pytest.mark.parametrize("use_normal_discriminator", [True, False])
@pytest.mark.parametrize("use_face_discriminator", [True, False])
def test_what_the_heads_see(use_normal_discriminator, use_face_discriminator):
    settings = Network(
        image_resolution=64,
        face_fraction=4,
        use_normal_discriminator=use_normal_discriminator,
        use_face_discriminator=use_face_discriminator,
    )
    image, normal = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64)
    centers = torch.full((2, 2), 0.5)
    real = discriminator_inputs.real_inputs(image, normal, centers, settings)
    assert torch.equal(real["image_raw"], resize(image, 32))
    out = {"image": image, "image_raw": real["image_raw"], "image_normal": resize(normal, 32)}
    fake = discriminator_inputs.fake_inputs(out, centers, settings)
    expected = {"image": 64, "image_raw": 32}
    expected |= {"image_normal": 32} if use_normal_discriminator else {}
    expected |= {"face": 16} if use_face_discriminator else {}
    expected |= {"face_normal": 8} if use_normal_discriminator and use_face_discriminator else {}
    assert {name: value.shape[-1] for name, value in real.items()} == expected
    for name in expected:
        assert torch.equal(real[name], fake[name]), name


class Linear(nn.Module):
    """Discriminators whose logit is `a` times the sum of the image."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.25))

    def forward(self, images, label, double_backward):
        return {"full": self.a * images["image"].sum((1, 2, 3))[:, None]}


def test_the_lazy_penalty_has_its_weight_and_interval():
    discriminators = Linear()
    graphs = DiscriminatorGraphs(discriminators, Training(batch_size=2, r1_gamma=3.0, d_reg_interval=7))
    penalty = graphs.r1_backward(DiscriminatorBatch({"image": torch.randn(2, 3, 32, 32)}, torch.zeros(2, 111)))
    pixels = 3 * 32 * 32
    assert penalty.tolist() == pytest.approx([0.25**2 * pixels] * 2, rel=1e-5)
    assert float(discriminators.a.grad) == pytest.approx(3.0 / 2 * 7 * 2 * 0.25 * pixels, rel=1e-5)


def test_regularisation_comes_in_its_interval(make_trainer, uint8_batch):
    training, taken = make_trainer(density_reg_every=2, d_reg_interval=3), []
    for step in range(5):
        training.step(uint8_batch)
        taken += [(name, step) for name in ("density", "R1") if f"loss/{name}" in training.averages.means()]
        training.averages.clear()
    assert taken == [("density", 0), ("R1", 0), ("density", 2), ("R1", 3), ("density", 4)]
