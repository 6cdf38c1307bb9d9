from __future__ import annotations

import pytest
import torch

from ag3d.config import Training
from ag3d.config.settings import from_mapping
from ag3d.config.training import FREEZABLE
from ag3d.core.errors import UserError
from ag3d.model.training.optim import first_layers


def moved(training, before):
    """Names of the parameters that are not what they were."""
    parameters = {f"G/{name}": p for name, p in training.G.named_parameters()}
    parameters |= {f"D/{name}": p for name, p in training.D.named_parameters()}
    if before is None:
        return {name: p.detach().clone() for name, p in parameters.items()}
    return {name for name, p in parameters.items() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("part", FREEZABLE)
def test_a_frozen_part_keeps_its_weights_and_the_others_train(make_trainer, uint8_batch, part):
    training = make_trainer(freeze=[part], density_reg_every=1)
    before = moved(training, None)
    for _ in range(2):
        training.step(uint8_batch)
    changed = moved(training, before)
    for other, prefix in FREEZABLE.items():
        touched = [name for name in changed if name.startswith(f"G/{prefix}")]
        assert bool(touched) == (other != part), other
    assert any(name.startswith("D/") for name in changed)


def test_the_first_layers_of_every_discriminator(make_trainer, uint8_batch):
    training = make_trainer(freeze=["discriminator:5"])
    before = moved(training, None)
    training.step(uint8_batch)
    changed = moved(training, before)
    image = ["b32.fromrgb", "b32.conv0", "b32.conv1", "b32.skip", "b16.conv0"]
    kept = [f"D/D_image.{layer}.weight" for layer in image] + [
        "D/D_normal.b16.fromrgb.weight",
        "D/D_normal.b8.conv0.weight",
    ]
    assert not changed & set(kept)
    assert {"D/D_image.b16.conv1.weight", "D/D_normal.b8.conv1.weight", "D/D_face_image.b4.conv.weight"} <= changed
    assert before.keys() >= set(kept)
    everything = first_layers(training.D.D_image, 1000)
    assert len(everything) < len(list(training.D.D_image.parameters()))


def test_a_frozen_field_still_trains_its_pictures(make_trainer, uint8_batch):
    training = make_trainer(freeze=["mapping", "backbone", "decoder", "density"], density_reg_every=1)
    before = moved(training, None)
    training.step(uint8_batch)
    assert {name.split(".")[0] for name in moved(training, before) if name.startswith("G/")} == {"G/superresolution"}


def test_wrong_names_are_told(make_trainer):
    for wrong in ("backbon", "discriminator", "discriminator:x", "deformer"):
        with pytest.raises(UserError, match=rf"training.freeze.*'{wrong}'"):
            from_mapping(Training, {"freeze": [wrong]}, "training")
    with pytest.raises(UserError, match="nothing of the generator is left"):
        make_trainer(freeze=list(FREEZABLE))
