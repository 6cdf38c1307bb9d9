"""The whole generator at a small size."""

from __future__ import annotations

import copy
import math
import re
import subprocess
import sys

import psutil
import pytest
import torch
from support.networks import SMALL
from torch.testing import assert_close

from ag3d.config import Network
from ag3d.config.network import Departures
from ag3d.core.errors import UserError
from ag3d.core.files import write_json, write_sealed
from ag3d.model import checkpoint
from ag3d.model.avatars.identities import orbit_view
from ag3d.model.body import label as labels
from ag3d.model.generator import Generator
from ag3d.model.training import losses


@pytest.fixture(scope="module")
def generator(tiny_body):
    torch.manual_seed(0)
    return Generator(Network(**SMALL, beta_init=0.02), tiny_body).eval()


@pytest.fixture(scope="module")
def label():
    return torch.cat([labels.canonical_label(), labels.canonical_label()])


def test_shapes_and_repeatability(generator, label):
    z = torch.randn(2, 8)
    with torch.no_grad():
        first, second = generator(z, label), generator(z, label)
    assert first["image"].shape == (2, 3, 32, 32)
    for key in ("image_raw", "image_normal"):
        assert first[key].shape == (2, 3, 16, 16)
    assert first["image_depth"].shape == (2, 1, 16, 16)
    for key in ("image", "image_normal", "image_depth"):
        assert torch.equal(first[key], second[key])


def test_a_new_network_shows_the_body(generator, label):
    with torch.no_grad():
        out = generator(torch.randn(2, 8), label)
    cover = out["opacity"][0, 0]
    assert cover[8, 8] > 0.9  # the trunk
    assert cover[0, 0] < 0.01
    assert cover[1, 3] < 0.01
    normal = out["image_normal"][0, :, 8, 8]
    assert normal[2] > 0.5  # towards the viewer


def test_every_parameter_gets_a_gradient(generator, label):
    network = copy.deepcopy(generator).train()
    out = network(torch.randn(2, 8), label, noise_mode="random", deterministic=False)
    loss = (
        out["image"].square().mean()
        + out["image_normal"].square().mean()
        + losses.eikonal(out["gradient"], out["empty"])
    )
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None or ("superresolution" in name and "noise_strength" in name), name
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
    assert network.renderer.sigmoid_beta.grad.abs() > 0


def test_field_gradient_is_in_metres(generator):
    ws = generator.mapping(torch.randn(1, 8))
    points = torch.rand(1, 200, 3) * torch.tensor([1.2, 1.2, 0.2]) - torch.tensor([0.6, 0.4, 0.1])
    step = 1e-3
    with torch.no_grad():
        gradient = generator.field(points, ws)["gradient"][0]
        numeric = torch.stack([(generator.field(points + step * axis, ws)["sdf"] - generator.field(points - step * axis, ws)["sdf"])[0] / (2 * step) for axis in torch.eye(3)], dim=1)  # fmt: skip
    error = (gradient - numeric).norm(dim=1)
    assert error.median() < 0.02  # piecewise linear: a few points lie on a voxel's border
    mixed = Generator(Network(**SMALL, departures=Departures(metric_gradients=False)), generator.body)
    mixed.load_state_dict(generator.state_dict())
    with torch.no_grad():
        other = mixed.field(points, ws)["gradient"][0]
    assert not torch.allclose(other, gradient, atol=1e-6)


def test_posed_field_is_empty_far_from_the_body(generator, label):
    ws = generator.mapping(torch.randn(2, 8))
    with torch.no_grad():
        out = generator.field(torch.full((2, 4, 3), 0.99), ws, label)
    assert (out["sdf"] == -100).all()


def test_a_camera_may_go_round(generator, label):
    ws = generator.mapping(torch.randn(2, 8))
    with torch.no_grad():
        front = generator.synthesis(ws, label)["opacity"]
        back = generator.synthesis(ws, orbit_view(label, math.pi, generator))["opacity"]
        side = generator.synthesis(ws, orbit_view(label, math.pi / 2, generator))["opacity"]
    assert_close(front.flip(-1), back, atol=0.3, rtol=0)
    assert (front.flip(-1) - back).abs().mean() < 0.02
    assert side.sum() < 0.8 * front.sum()  # arms out: narrower from the side


def test_compatibility_turns_all_departures_off():
    assert not any(vars(Network(compatibility="reference").departures).values())
    assert all(vars(Network().departures).values())


def test_checkpoint_comes_back(generator, tiny_body, tmp_path):
    checkpoint.save_weights(generator, tmp_path / checkpoint.EMA)
    write_json(tmp_path / checkpoint.DESCRIPTION, checkpoint.describe(generator.settings, tiny_body))
    again = checkpoint.load_generator(tmp_path, tiny_body)
    assert again.settings == generator.settings
    for name, value in generator.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    (tmp_path / checkpoint.EMA).write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load_generator(tmp_path, tiny_body)
    other = Generator(Network(**{**SMALL, "channel_max": 16, "channel_base": 512}), tiny_body)
    checkpoint.save_weights(other, tmp_path / checkpoint.EMA)
    with pytest.raises(UserError, match="another network"):
        checkpoint.load_generator(tmp_path, tiny_body)
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load_generator(tmp_path / "nowhere", tiny_body)


def test_a_checkpoint_from_before_a_departure_comes_back(tiny_body, tmp_path):
    made = Generator(Network(**SMALL, departures=Departures(plain_mapping=False)), tiny_body)
    checkpoint.save_weights(made, tmp_path / checkpoint.EMA)
    description = checkpoint.describe(made.settings, tiny_body)
    del description["network"]["departures"]["plain_mapping"]
    write_json(tmp_path / checkpoint.DESCRIPTION, description)
    again = checkpoint.load_generator(tmp_path, tiny_body)
    assert again.settings == made.settings
    assert torch.equal(again.backbone.mapping.embed.weight, made.backbone.mapping.embed.weight)


LIES = {
    "z_dim": lambda d: d["network"].update(z_dim=4_000_000),
    "z_dim beyond numbers": lambda d: d["network"].update(z_dim=10**18),
    "mapping_layers": lambda d: d["network"].update(mapping_layers=10**6),
    "channels": lambda d: d["network"].update(channel_max=10**6, channel_base=10**9),
    "no body": lambda d: d.update(body=None),
    "a body's list": lambda d: d.update(body=[]),
    "no departures": lambda d: d["network"].update(departures=[]),
    "files": lambda d: d.update(files=3),
    "a network's number": lambda d: d.update(network=3),
}


@pytest.mark.parametrize("lie", LIES)
def test_sizes_that_no_weights_have_take_no_memory(tiny_body, tmp_path, lie):
    made = Generator(Network(**SMALL), tiny_body)
    checkpoint.save_weights(made, tmp_path / checkpoint.EMA)
    description = checkpoint.describe(made.settings, tiny_body)
    LIES[lie](description)
    write_json(tmp_path / checkpoint.DESCRIPTION, description)
    before = psutil.Process().memory_info().rss
    with pytest.raises(UserError, match=re.escape(str(tmp_path)) + "|network"):
        checkpoint.load_generator(tmp_path, tiny_body)
    assert psutil.Process().memory_info().rss - before < 2**27


def test_a_changed_setting_is_noticed(tiny_body, tmp_path):
    made = Generator(Network(**SMALL), tiny_body)
    checkpoint.save_weights(made, tmp_path / checkpoint.EMA)
    file = tmp_path / checkpoint.DESCRIPTION
    write_sealed(file, checkpoint.describe(made.settings, tiny_body))
    checkpoint.load_generator(tmp_path, tiny_body)
    old = f'"depth_resolution": {made.settings.depth_resolution}'
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, '"depth_resolution": 7'))
    with pytest.raises(UserError, match="checkpoint.json was damaged or changed"):
        checkpoint.load_generator(tmp_path, tiny_body)


def test_sizes_are_known_without_a_network_and_without_pytorchs_compiler(generator):
    """Each command that opens a checkpoint compares them first."""
    shapes = checkpoint.generator_shapes(generator.settings)
    tensors = generator.state_dict()
    assert all(tuple(tensors[name].shape) == tuple(shape) for name, shape in shapes.items())
    code = (
        "import sys; from ag3d.config.network import Network; from ag3d.model.checkpoint import generator_shapes;"
        "generator_shapes(Network()); assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
