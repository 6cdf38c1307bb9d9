from __future__ import annotations

import math

import pytest
import torch

from ag3d.config import Network, Training
from ag3d.model.body import label as body_label
from ag3d.model.ops.resize import resize
from ag3d.model.training import discriminator_inputs, phases
from ag3d.model.training.augment import INTERVAL, MAX_P, AdaptiveAugment, Augmentation, sample_augmentation
from ag3d.model.training.distributed import Processes


def change(flip=False, turn=0.0, scale=1.0, shift=(0.0, 0.0), color=None, light=0.0) -> Augmentation:
    """A transformation of one person."""
    numbers = (torch.tensor([value]) for value in (turn, scale))
    matrix = torch.eye(3) if color is None else color
    return Augmentation(torch.tensor([flip]), *numbers, torch.tensor([shift]), matrix[None], torch.tensor([light]))


def coordinates(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x, y of the pixels' centres, -1 ... 1."""
    at = (torch.arange(side) + 0.5) / side * 2 - 1
    return at[None, :].expand(side, side), at[:, None].expand(side, side)


def blob(center: tuple[float, float], side: int = 64, width: float = 0.1) -> torch.Tensor:
    """A dark spot on white, [1,3,side,side]; the centre in units of the side."""
    x, y = coordinates(side)
    near = ((x - (2 * center[0] - 1)) ** 2 + (y - (2 * center[1] - 1)) ** 2) / width**2
    return (1 - 2 * torch.exp(-near)).expand(1, 3, side, side)


def found(image: torch.Tensor) -> torch.Tensor:
    """Where the spot is, in units of the side."""
    x, y = coordinates(image.shape[-1])
    dark = (1 - image[0, 0]).clamp(min=0)
    return torch.stack([(dark * x).sum(), (dark * y).sum()]) / dark.sum() / 2 + 0.5


def sphere(side: int = 96, radius: float = 0.8) -> torch.Tensor:
    """The normal map of a ball in the middle, [1,3,side,side]."""
    x, y = (part / radius for part in coordinates(side))
    inside = x**2 + y**2 < 1
    normal = torch.stack([x, -y, (1 - x**2 - y**2).clamp(min=0).sqrt()])
    return torch.where(inside, normal, torch.ones(3, side, side))[None]


GEOMETRY = [
    {"flip": True},
    {"turn": 0.6},
    {"scale": 1.2},
    {"shift": (0.2, -0.1)},
    {"flip": True, "turn": -0.4, "scale": 0.9, "shift": (-0.15, 0.2)},
]


@pytest.mark.parametrize("parts", GEOMETRY)
def test_points_go_where_the_pixels_go(parts):
    changes, center = change(**parts), (0.6, 0.42)
    at = changes.points(torch.tensor([center]))[0]
    assert torch.allclose(found(changes.images(blob(center))), at, atol=2e-3)
    assert (at - torch.tensor(center)).abs().max() > 0.01


def test_directions_are_as_documented():
    right, up = torch.tensor([[0.75, 0.5]]), torch.tensor([[0.5, 0.25]])
    assert torch.allclose(change(turn=math.pi / 2).points(right), up, atol=1e-6)
    assert torch.allclose(change(shift=(0.5, 0.0)).points(up), torch.tensor([[0.75, 0.25]]))
    assert torch.allclose(change(scale=0.5).points(right), torch.tensor([[0.625, 0.5]]))


def test_a_flip_is_the_mirrored_data():
    image, normal = torch.rand(1, 3, 16, 16) * 2 - 1, sphere(16)
    flipped = change(flip=True)
    assert torch.allclose(flipped.images(image), image.flip(3), atol=1e-5)
    person = (normal != 1).any(1, keepdim=True)
    mirrored = torch.where(person, normal * torch.tensor([-1.0, 1, 1])[:, None, None], normal).flip(3)
    assert torch.allclose(flipped.normals(normal), mirrored, atol=1e-5)
    label = body_label.canonical_label(1, torch.randn(1, 10)) + 0.1
    assert torch.equal(flipped.labels(label), body_label.mirror(label))
    assert torch.equal(change(turn=0.3).labels(label), label)


@pytest.mark.parametrize("turn", [0.3, -1.1, math.pi / 2])
def test_a_turned_ball_is_the_same_ball(turn):
    normal = sphere()
    x, y = coordinates(96)
    inside, outside = (x**2 + y**2 < 0.7**2), (x**2 + y**2 > 0.85**2) & (x**2 + y**2 < 0.95)
    turned = change(turn=turn).normals(normal)
    assert torch.allclose(turned[..., inside], normal[..., inside], atol=5e-3)
    assert torch.allclose(turned[..., outside], torch.ones(()), atol=1e-5)


def test_a_turned_wall_faces_elsewhere():
    wall = torch.tensor([0.6, 0.0, 0.8])[:, None, None].expand(1, 3, 32, 32)
    turned = change(turn=math.pi / 2).normals(wall)[0, :, 16, 16]
    assert torch.allclose(turned, torch.tensor([0.0, 0.6, 0.8]), atol=1e-5)
    assert torch.allclose(change(scale=1.3).normals(wall)[0, :, 16, 16], wall[0, :, 0, 0], atol=1e-5)


@pytest.mark.parametrize("parts", GEOMETRY)
def test_all_pictures_move_together(parts):
    settings = Network(image_resolution=128, face_fraction=4)
    center, changes = (0.55, 0.45), change(**parts)
    image = blob(center, 128)
    small = resize(image, 64)
    real = discriminator_inputs.real_inputs(image, image, torch.tensor([center]), settings, changes)
    out = {"image": image, "image_raw": small, "image_normal": small}
    fake = discriminator_inputs.fake_inputs(out, torch.tensor([center]), settings, changes)
    for name in real:
        assert torch.allclose(real[name], fake[name], atol=1e-5), name
    at = changes.points(torch.tensor([center]))[0]
    for name in ("image", "image_raw"):
        assert torch.allclose(found(real[name]), at, atol=5e-3), name
    # The spot is in the middle of its crop (whose samples are half a pixel off by AG3D's definition).
    assert torch.allclose(found(real["face"]), torch.tensor([0.5, 0.5]), atol=0.03)


def test_white_comes_in_from_outside():
    dark = -torch.ones(1, 3, 32, 32)
    shifted = change(shift=(1.0, 0.0))
    assert torch.allclose(shifted.images(dark)[..., :15], torch.ones(()))
    assert torch.allclose(shifted.normals(sphere(32))[..., :15], torch.ones(()), atol=1e-5)


def test_colours():
    grey, red = torch.full((1, 3, 4, 4), 0.3), torch.tensor([0.9, -0.2, -0.2])[:, None, None].expand(1, 3, 4, 4)
    one, many = torch.Generator().manual_seed(0), sample_augmentation(500, 1.0, torch.Generator().manual_seed(1))
    assert torch.equal(sample_augmentation(3, 0.0, one).color, torch.eye(3).expand(3, 3, 3))
    # Hue and saturation keep grey grey; contrast and brightness act alike on all channels.
    greys = torch.einsum("bij,bj->bi", many.color, torch.full((500, 3), 0.3)) + many.light[:, None]
    assert (greys.max(1).values - greys.min(1).values).max() < 1e-4
    assert torch.allclose(change(light=0.25).images(grey), torch.full((), 0.55))
    assert torch.allclose(change(color=2 * torch.eye(3)).images(grey), torch.full((), 0.6))
    mean = many.color.det().log2().abs()
    assert mean.max() > 0.5  # something happens
    assert torch.equal(change().images(red), red)


def test_pictures_that_stay_are_untouched():
    image, normal = torch.rand(4, 3, 16, 16) * 2 - 1, sphere(16).expand(4, 3, 16, 16)
    changes = sample_augmentation(4, 0.0, torch.Generator().manual_seed(0))
    assert torch.equal(changes.images(image), image)
    assert torch.allclose(changes.normals(normal), normal, atol=1e-6)


def test_each_kind_comes_as_often_as_asked():
    p, number = 0.3, 20_000
    changes = sample_augmentation(number, p, torch.Generator().manual_seed(0))
    shares = {
        "flip": changes.flip,
        "turn": changes.turn != 0,
        "scale": changes.scale != 1,
        "shift": (changes.shift != 0).any(1),
        "light": changes.light != 0,
    }
    expected = {"flip": p / 2}
    for name, share in shares.items():
        assert float(share.float().mean()) == pytest.approx(expected.get(name, p), abs=0.015), name
    assert changes.shift.abs().max() <= 0.25
    assert changes.turn.abs().max() <= math.pi / 4


def test_gradients_pass():
    changes = change(True, 0.4, 1.1, (0.1, 0.05), torch.eye(3) + 0.1, 0.1)
    changes = changes.map(lambda value: value.double() if value.is_floating_point() else value)
    image = torch.rand(1, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(changes.images, (image,))
    assert torch.autograd.gradcheck(changes.normals, ((image * 0.5).detach().requires_grad_(),))


def test_the_controller_follows_the_signs():
    settings = Training(augment="ada", batch_size=8, ada_target=0.6, ada_kimg=1.0)
    controller, change_ = AdaptiveAugment(settings), 8 * INTERVAL / 1000
    assert controller.sample(8, torch.Generator()) is None

    def steps(logit: torch.Tensor, first: int) -> None:
        for number in range(first, first + INTERVAL):
            controller.observe(logit)
            controller.update_p(number, Processes())

    known = torch.tensor([5.0] * 7 + [-1.0])[:, None]  # mean sign 0.75
    steps(known, 1)
    assert controller.p == pytest.approx(change_)
    steps(known, 1 + INTERVAL)
    assert controller.p == pytest.approx(2 * change_)
    unknown = torch.tensor([5.0] * 6 + [-1.0] * 2)[:, None]  # 0.5
    for number in range(3):
        steps(unknown, 1 + (2 + number) * INTERVAL)
    assert controller.p == 0
    for number in range(40):
        steps(known, 1 + number * INTERVAL)
    assert controller.p == MAX_P


def test_the_controller_goes_on_from_its_state():
    settings = Training(augment="ada", batch_size=2, ada_kimg=0.1)
    straight, stopped = AdaptiveAugment(settings), AdaptiveAugment(settings)
    drawn = torch.Generator().manual_seed(3)
    for number in range(1, 60):
        logit = torch.randn(2, 1, generator=drawn) + 1
        for controller in (straight, stopped):
            controller.observe(logit)
            controller.update_p(number, Processes())
        resumed = AdaptiveAugment(settings)
        resumed.restore(stopped.state(), first=True)
        stopped = resumed
    assert straight.p == stopped.p > 0


@pytest.mark.parametrize(("augment", "p"), [("none", 0.0), ("fixed", 0.35)])
def test_without_a_controller_the_probability_stays(augment, p):
    controller = AdaptiveAugment(Training(augment=augment, augment_p=0.35))
    for number in range(1, 20):
        controller.observe(torch.ones(4, 1))
        controller.update_p(number, Processes())
    assert controller.p == p


def test_augmentation_rises_when_the_photographs_are_learnt_by_heart(make_trainer, uint8_batch):
    trainings = {}
    for target in (0.6, 1.0):
        settings = {"augment": "ada", "ada_kimg": 0.1, "ada_target": target, "learning_rate_g": 0.0}
        trainings[target] = make_trainer(**settings, r1_gamma=0.0, density_reg=0.0, learning_rate_d=0.01)
        for _ in range(24):
            trainings[target].step(uint8_batch)
    assert trainings[0.6].augment.p > 0.1
    assert trainings[1.0].augment.p == 0


def test_an_augmented_training_is_resumed_exactly(make_trainer, uint8_batch):
    settings = {"augment": "ada", "ada_kimg": 0.02, "ada_target": -1.0, "reuse_fakes": True}
    straight, first, second = (make_trainer(**settings) for _ in range(3))
    for _ in range(9):
        straight.step(uint8_batch)
    for _ in range(6):
        first.step(uint8_batch)
    second.restore(first.tensors(), first.values())
    for _ in range(3):
        second.step(uint8_batch)
    assert straight.augment.p == second.augment.p > 0
    for name, value in straight.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name


def test_chunks_get_their_own_part(make_trainer, uint8_batch):
    gradients = []
    for micro_batch in (0, 1):
        training = make_trainer(micro_batch=micro_batch, augment="fixed", augment_p=0.8)
        phases.r1_phase(training, uint8_batch, 0.0)
        gradients.append(torch.cat([p.grad.flatten() for p in training.D.parameters() if p.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-3, atol=1e-5 * float(gradients[0].abs().max()))
