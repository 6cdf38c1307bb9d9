"""A released file becomes a checkpoint's folder that makes the same people."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.released_file import networks, write_released

from ag3d import config
from ag3d.cli import VERBS
from ag3d.config import Network, to_mapping
from ag3d.core.errors import UserError
from ag3d.model.body.body import Body
from ag3d.model.checkpoint import load_generator
from ag3d.model.legacy import import_checkpoint as command
from ag3d.model.legacy.infer_config import expected_shapes, settings_from_shapes
from ag3d.model.legacy.reader import read_released
from ag3d.model.legacy.torch_storage import read_storage
from ag3d.model.networks.discriminator import Discriminators


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["ag3d import-checkpoint", *map(str, arguments)])
    command.main()


def save_body(path: Path, arrays: dict[str, np.ndarray], **changed: np.ndarray) -> Path:
    np.savez(path, allow_pickle=False, **{**arrays, **changed})
    return path


def test_imported_generator_makes_the_same_people(made, imported, tiny_body, pose_distribution):
    original = made[0]
    with pytest.warns(UserWarning, match="was trained with the body"):  # the one inside has pose corrections
        generator = load_generator(imported, tiny_body)
    z = torch.randn(2, original.settings.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = (each(z, pose_distribution[:2], truncation=0.7) for each in (original, generator))
    assert float(expected["image"].std()) > 0.01
    assert float(expected["opacity"].mean()) > 0.01
    for kind in ("image", "image_raw", "image_normal", "image_depth"):
        assert torch.equal(found[kind], expected[kind]), kind


def test_every_tensor_and_setting_arrives(made, imported):
    assert sorted(path.name for path in imported.iterdir()) == [
        "checkpoint.json",
        "discriminator.safetensors",
        "fine-tune.yaml",
        "generator.safetensors",
        "generator_ema.safetensors",
    ]
    for name, module in zip(("generator_ema", "generator", "discriminator"), made, strict=True):
        found, own = load_file(imported / f"{name}.safetensors"), module.state_dict()
        assert found.keys() == own.keys()  # no tensor of the body among them
        assert all(torch.equal(found[key], own[key]) for key in own), name
    description = json.loads((imported / "checkpoint.json").read_text())
    assert description["network"] == to_mapping(made[0].settings)
    assert description["network"]["compatibility"] == "reference"
    assert description["kimg"] == 2500
    assert any(name.endswith("/network.pkl") for name in description["record"]["inputs"])


@pytest.mark.parametrize("protocol", [2, 3, 5])
def test_every_protocol(tmp_path, made, body_arrays, protocol):
    """Before protocol 3, bytes are written as encoded text."""
    path = write_released(tmp_path / "network.pkl", made, body_arrays, parts=("G_ema",), protocol=protocol)
    found = read_released(path)
    own = made[0].state_dict()
    assert all(np.array_equal(array, own[name]) for name, array in found.networks["generator_ema"].items())
    assert found.body is not None
    np.testing.assert_array_equal(found.body["posedirs"], body_arrays["posedirs"])


@pytest.mark.parametrize(
    ("progress", "kimg"),
    [({"cur_nimg": torch.LongTensor([4000])}, 4), ({"cur_nimg": -1}, 0), ({}, 0), (None, 0), ({"cur_nimg": "many"}, 0)],
)
def test_how_far_it_was_trained(tmp_path, made, progress, kimg):
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",), progress=progress)
    assert read_released(path).kimg == kimg


def test_other_sizes(tmp_path, tiny_body):
    """Sampling, bounds and clamps are not in the shapes, but among the options."""
    other = {
        "neural_resolution": 32,
        "conv_clamp": 0.0,
        "depth_resolution": 5,
        "depth_resolution_importance": 6,
        "ray_end": 0.5,
        "box_warp": 1.8,
    }
    other |= {
        "use_face_discriminator": False,
        "mapping_layers": 1,
        "channel_max": 16,
        "mbstd_group_size": 4,
        "z_dim": 12,
    }
    made = networks(tiny_body, **other)
    found = read_released(write_released(tmp_path / "network.pkl", made)).settings
    assert to_mapping(found) == to_mapping(
        Network(**to_mapping(made[0].settings) | {"face_fraction": found.face_fraction})
    )


@pytest.mark.parametrize(
    "settings",
    [
        Network(compatibility="reference"),
        Network(
            image_resolution=128, plane_resolution=64, channel_base=2048, channel_max=32, compatibility="reference"
        ),
        Network(image_resolution=64, face_fraction=8, channel_base=8192, channel_max=64, compatibility="reference"),
        Network(use_normal_discriminator=False, mapping_layers=3, plane_channels=16, compatibility="reference"),
    ],
)
def test_sizes_are_read_back_from_shapes(settings):
    assert Network(**settings_from_shapes(*expected_shapes(settings))) == settings


def test_the_released_size():
    """Counts of the reference's 512-pixel network (without filters, which are constants)."""
    generator, discriminator = expected_shapes(Network(compatibility="reference"))
    parameters = {name: shape for name, shape in generator.items() if not name.endswith(("noise_const", "w_avg"))}
    assert len(parameters) == 133
    assert sum(int(np.prod(shape)) for shape in parameters.values()) == 29_631_545
    assert len(discriminator) == 204
    assert sum(int(np.prod(shape)) for shape in discriminator.values()) == 115_526_016


def test_storages_are_read_as_torch_wrote_them():
    for tensor in (torch.randn(7), torch.arange(5), torch.tensor([True, False]), torch.randn(3).half()):
        stream = io.BytesIO()
        torch.save(
            torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True),
            stream,
            _use_new_zipfile_serialization=False,
        )
        data = stream.getvalue()
        np.testing.assert_array_equal(read_storage(data), tensor.numpy())
        moved = data.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")  # the reference left some on its GPU
        assert moved != data
        np.testing.assert_array_equal(read_storage(moved), tensor.numpy())


# ---- the command


def test_command(monkeypatch, caplog, tmp_path, released, tiny_body_path, body_arrays):
    caplog.set_level(logging.INFO)
    same = save_body(tmp_path / "same.npz", body_arrays)
    run(monkeypatch, released, tmp_path / "out", "--body", tiny_body_path, "--body", same)
    said = caplog.text
    assert f"it is the one in {same}" in said
    assert "1,092 vertices" in said
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert json.loads((tmp_path / "out" / "checkpoint.json").read_text())["body"]["name"] == "same.npz"


def test_verb_is_registered():
    assert f"ag3d.{VERBS['import-checkpoint'][0]}" == command.__name__


def test_another_body_is_warned_of(monkeypatch, caplog, tmp_path, released, body_arrays, tiny_body):
    moved = save_body(tmp_path / "moved.npz", body_arrays, v_template=body_arrays["v_template"] + 0.001)
    fewer = {"faces": body_arrays["faces"][:-1]}
    run(
        monkeypatch,
        released,
        tmp_path / "out",
        "--body",
        moved,
        "--body",
        save_body(tmp_path / "f.npz", body_arrays, **fewer),
    )
    warnings = [entry.getMessage() for entry in caplog.records if entry.levelno >= logging.WARNING]
    assert any(str(moved) in text and "differ by up to 0.001" in text for text in warnings)
    assert any("f.npz" in text and "another mesh" in text for text in warnings)
    with pytest.warns(UserWarning, match="the body inside network.pkl"):
        load_generator(tmp_path / "out", tiny_body)


def test_body_is_written_only_when_asked_for(monkeypatch, recwarn, tmp_path, released, body_arrays):
    run(monkeypatch, released, tmp_path / "out", "--with-body")
    body = Body.load(tmp_path / "out" / "body.npz")
    np.testing.assert_array_equal(body.v_template, body_arrays["v_template"])
    np.testing.assert_array_equal(body.weights, body_arrays["weights"])
    assert body.posedirs is not None
    load_generator(tmp_path / "out", body)
    assert not [entry for entry in recwarn if "was trained with the body" in str(entry.message)]


def test_file_without_a_body(monkeypatch, caplog, tmp_path, small_released, tiny_body):
    run(monkeypatch, small_released, tmp_path / "out")
    assert "holds no body" in caplog.text
    assert "there is no discriminator" in caplog.text
    assert not (tmp_path / "out" / "discriminator.safetensors").exists()
    load_generator(tmp_path / "out", tiny_body)
    with pytest.raises(UserError, match="--with-body"):
        run(monkeypatch, small_released, tmp_path / "other", "--with-body")
    assert not (tmp_path / "other").exists()


def test_existing_output_is_left_alone(monkeypatch, tmp_path, small_released):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="out exists; choose another folder"):
        run(monkeypatch, small_released, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_is_left_when_writing_fails(monkeypatch, tmp_path, small_released):
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command, "write_sealed", full)
    with pytest.raises(UserError, match="no space left while writing .*out"):
        run(monkeypatch, small_released, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_fine_tuning_configuration(imported, made):
    content = yaml.safe_load((imported / "fine-tune.yaml").read_text())
    with pytest.raises(UserError, match="photos.path"):
        config.load(content)
    content["photos"]["path"] = "my-photos"
    loaded = config.load(content)
    assert to_mapping(loaded.network) == to_mapping(made[0].settings)
    assert Path(loaded.training.resume_from) == imported


# ---- files of other networks


@pytest.mark.parametrize(
    "options",
    [
        {"is_sdf": False},
        {"c_gen_conditioning_zero": False},
        {"decoder_lr_mul": 0.5},
        {"ray_start": "auto"},
        {"depth_resolution": 10**9},
        {"depth_resolution": 1},
    ],
)
def test_networks_that_we_do_not_have(tmp_path, made, options):
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",), options=options)
    with pytest.raises(UserError, match=f"network.pkl.*({next(iter(options))}|samples)"):
        read_released(path)


def test_tensor_of_another_shape_is_named(tmp_path, tiny_body):
    made = networks(tiny_body)
    made[0].decoder.net[2].bias = torch.nn.Parameter(torch.zeros(7))
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",))
    with pytest.raises(UserError, match=r"generator_ema.*decoder.net.2.bias is \[7\], expected \[5\]"):
        read_released(path)


def test_tensors_missing_or_not_finite(tmp_path, tiny_body):
    made = networks(tiny_body)
    del made[0].superresolution.block1.torgb.bias
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",))
    with pytest.raises(UserError, match="missing .*block1.torgb.bias"):
        read_released(path)
    made = networks(tiny_body)
    made[0].decoder.net[0].weight[1, 1] = float("nan")
    path = write_released(tmp_path / "network.pkl", made, parts=("G_ema",))
    with pytest.raises(UserError, match="decoder.net.0.weight holds values that are no finite numbers"):
        read_released(path)


def test_surplus_buffers_are_left_out_and_told(tmp_path, caplog, tiny_body):
    made = networks(tiny_body)
    made[0].backbone.register_buffer("steps_seen", torch.tensor([3]))
    found = read_released(write_released(tmp_path / "network.pkl", made, parts=("G_ema",)))
    assert "backbone.steps_seen" not in found.networks["generator_ema"]
    assert "left out: backbone.steps_seen" in caplog.text
    made[0].backbone.surplus = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(UserError, match="not expected .*backbone.surplus"):
        read_released(write_released(tmp_path / "network.pkl", made, parts=("G_ema",)))


def test_discriminators_of_another_size(tmp_path, tiny_body, made):
    other = Discriminators(Network(**to_mapping(made[0].settings) | {"image_resolution": 64}))
    path = write_released(tmp_path / "network.pkl", (made[0], made[1], other.requires_grad_(False)))
    with pytest.raises(UserError, match="discriminator is of another network"):
        read_released(path)
