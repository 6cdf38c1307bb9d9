"""Fine-tuning: what a training takes over from another."""

from __future__ import annotations

import dataclasses
import logging

import pytest
import torch

from ag3d.core.errors import UserError
from ag3d.model.checkpoint import read_weights
from ag3d.model.training.training_state import TrainingState, write_milestone
from ag3d.model.training.weight_transfer import start_from, start_tensors, transferable, weights_hash, whole_modules


def test_what_fits_by_name_and_shape_is_carried(caplog):
    found = {"a": torch.ones(2), "b": torch.ones(3, dtype=torch.float16), "c": torch.ones(4), "n": torch.tensor(3)}
    own = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(5), "d": torch.zeros(1), "n": torch.tensor(0)}
    carried = transferable(found, own)
    assert carried.tensors.keys() == {"a", "b", "n"}
    assert carried.tensors["b"].dtype == torch.float32
    assert carried.tensors["n"].dtype == torch.int64
    assert (carried.new, carried.shapes, carried.unused) == (["d"], ["c (5 here, 4 there)"], [])
    with caplog.at_level(logging.INFO):
        carried.tell("generator", "somewhere")
        transferable({"z": torch.ones(1)}, {}).tell("generator", "elsewhere")
    assert "generator: 3 tensors taken over from somewhere" in caplog.text
    assert "generator: these start anew, for their shape is another: c (5 here, 4 there)" in caplog.text
    assert "generator: these start anew, for they were not there: d" in caplog.text
    assert "generator: these are left behind, for they are not here: z" in caplog.text


def test_modules_are_named_rather_than_their_tensors():
    others = ["a.b.weight", "c.d.e"]
    assert whole_modules(["a.b.bias", "a.x.weight", "a.x.bias", "y.z.weight", "y.bias"], others) == [
        "a.b.bias",
        "a.x",
        "y",
    ]


@pytest.fixture
def trained(make_trainer, uint8_batch):
    training = make_trainer()
    training.step(uint8_batch)
    return training


@pytest.fixture(params=["milestone", "saved state"])
def folder(request, trained, tmp_path):
    state = TrainingState("key", 2, trained.tensors(), trained.values())
    if request.param == "milestone":
        write_milestone(tmp_path, state, {})
        for name in ("state.json", "state.safetensors"):
            (tmp_path / name).unlink()
    else:
        state.write(tmp_path)
    return tmp_path


def test_the_same_network_is_taken_over_whole(make_trainer, trained, folder, caplog):
    training = make_trainer(seed=3, resume_from=str(folder))
    with caplog.at_level(logging.WARNING):
        start_from(folder, training.networks())
    assert not caplog.text
    for name, network in trained.networks().items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, training.networks()[name].state_dict()[key]), key


def test_another_resolution_takes_over_what_fits(make_trainer, trained, folder, tiny_network, caplog, uint8_batch):
    large = dataclasses.replace(tiny_network, image_resolution=64, use_normal_discriminator=False)
    training = make_trainer(network=large, seed=3)
    fresh = {name: value.clone() for name, value in training.D.state_dict().items()}
    with caplog.at_level(logging.INFO):
        start_from(folder, training.networks())
    G, D = training.G.state_dict(), training.D.state_dict()
    assert torch.equal(G["decoder.net.0.weight"], trained.G.state_dict()["decoder.net.0.weight"])
    assert torch.equal(D["D_image.b32.conv0.weight"], trained.D.state_dict()["D_image.b32.conv0.weight"])
    assert torch.equal(D["D_image.b64.conv0.weight"], fresh["D_image.b64.conv0.weight"])
    assert "superresolution.block1.conv0.noise_const (64×64 here, 32×32 there)" in caplog.text
    assert "they were not there: D_face_image.b16, D_image.b64" in caplog.text
    assert (
        "left behind, for they are not here: D_face_image.b8.fromrgb, D_face_normal, D_image.b32.fromrgb, D_normal"
        in caplog.text
    )
    pictures = [torch.nn.functional.interpolate(part.float(), scale_factor=2).byte() for part in uint8_batch[:2]]
    training.step((*pictures, uint8_batch[2]))


def test_missing_discriminators_start_anew(make_trainer, trained, tmp_path, caplog):
    write_milestone(tmp_path, TrainingState("key", 2, trained.tensors(), trained.values()), {})
    for name in ("discriminator", "generator"):
        (tmp_path / f"{name}.safetensors").unlink()
    training = make_trainer(seed=3)
    start_from(tmp_path, training.networks())
    assert "holds no discriminator: it starts anew" in caplog.text
    ema = trained.G_ema.state_dict()
    assert all(torch.equal(value, ema[name]) for name, value in training.G.state_dict().items())


def test_a_folder_without_weights_is_told(tmp_path, make_trainer):
    for function in (weights_hash, start_tensors):
        with pytest.raises(UserError, match=r"training.resume_from: .*" + tmp_path.name):
            function(tmp_path)


def test_a_flipped_byte_in_published_weights_is_told(trained, tmp_path):
    write_milestone(tmp_path, TrainingState("key", 2, trained.tensors(), trained.values()), {})
    path = tmp_path / "generator_ema.safetensors"
    assert read_weights(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"generator_ema.safetensors is damaged"):
        read_weights(path)
