from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass

import pytest

from ag3d.config import Config, Export, Training, load, schema, to_mapping
from ag3d.config.renamed import RENAMED
from ag3d.config.settings import add_options, default_of, from_mapping, from_options, option, read_yaml
from ag3d.core.errors import UserError


@dataclass
class Inner:
    """Inner."""

    width: int = option(3, "a width", low=1, high=9)


@dataclass
class Outer:
    """Outer."""

    name: str = option("x", "a name", choices=("x", "y"))
    rate: float = option(0.5, "a rate")
    sizes: list[int] = option([1, 2], "sizes")
    inner: Inner = option(Inner, "")
    maybe: int | None = option(None, "perhaps")


def test_values_and_defaults():
    outer = from_mapping(Outer, {"rate": 1, "inner": {"width": 9}, "sizes": [4]})
    assert outer.rate == 1.0
    assert isinstance(outer.rate, float)
    assert (outer.inner.width, outer.sizes, outer.name) == (9, [4], "x")
    assert from_mapping(Outer, {}).sizes == [1, 2]
    assert from_mapping(Outer, to_mapping(outer)) == outer


def test_lists_are_not_shared():
    from_mapping(Outer, {}).sizes.append(7)
    assert from_mapping(Outer, {}).sizes == [1, 2]


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"nam": "x"}, ["nam", "did you mean 'name'"]),
        ({"inner": {"widht": 2}}, ["inner.widht", "inner.width"]),
        ({"inner": {"width": 10}}, ["inner.width", "10", "between 1 and 9"]),
        ({"inner": {"width": True}}, ["inner.width", "whole number"]),
        ({"inner": {"width": "3"}}, ["inner.width", "whole number", "'3'"]),
        ({"inner": [1]}, ["inner", "mapping"]),
        ({"name": "z"}, ["name", "'x', 'y'"]),
        ({"rate": "fast"}, ["rate", "number"]),
        ({"rate": None}, ["rate", "number"]),
        ({"sizes": 3}, ["sizes", "list"]),
        ({"sizes": [1, "two"]}, ["sizes[1]", "two"]),
        ({"maybe": "x"}, ["maybe"]),
    ],
)
def test_errors_name_the_key(mapping, words):
    with pytest.raises(UserError) as caught:
        from_mapping(Outer, mapping)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_are_finite(value):
    with pytest.raises(UserError, match=r"training\.r1_gamma.*finite"):
        load({"training": {"r1_gamma": value}})


@pytest.mark.parametrize(
    ("mapping", "words"),
    [
        ({"network": {"neural_resolution": 1000}}, ["network.neural_resolution", "1000", "power of two"]),
        ({"network": {"neural_resolution": 1024}}, ["network.neural_resolution", "1024", "image_resolution", "512"]),
        ({"network": {"image_resolution": 500}}, ["network.image_resolution", "power of two"]),
        ({"network": {"ray_start": 0.3, "ray_end": -0.3}}, ["network.ray_start", "ray_end"]),
        ({"network": {"channel_base": 64}}, ["network.channel_base", "64", "512"]),
        ({"network": {"face_fraction": 128}}, ["network.face_fraction", "use_face_discriminator"]),
        ({"normals": {"onnx": {"axes": "q"}}}, ["normals.onnx.axes", "'q'", "x -y -z"]),
        ({"normals": {"onnx": {"axes": "x x z"}}}, ["normals.onnx.axes", "x -y -z"]),
        ({"normals": {"onnx": {"output_range": [1]}}}, ["normals.onnx.output_range", "two different numbers"]),
        ({"machine": {"device": "tpu"}}, ["machine.device", "'tpu'", "auto"]),
        ({"fitting": {"device": "cuda:x"}}, ["fitting.device", "auto"]),
        ({"evaluation": {"device": ""}}, ["evaluation.device", "auto"]),
        ({"export": {"motions": ["walk", "/no/such/file.npz"]}}, ["export.motions", "/no/such/file.npz", "wave"]),
        ({"dataset": {"resolution": 64}}, ["dataset.resolution", "64", "512"]),
        ({"alignment": {"resolution": 128}}, ["alignment.resolution", "128", "512"]),
        (
            {"network": {"image_resolution": 64}, "training": {"stages": [{"from_kimg": 1, "image_resolution": 256}]}}
            | {"dataset": {"resolution": 128}},
            ["dataset.resolution", "128", "256"],
        ),
        ({"training": {"milestones": 10**9}}, ["training.milestones", "between 1 and 1000"]),
        ({"run": "-rf"}, ["'run'", "-rf"]),
        ({"run": "a;b"}, ["'run'", "a;b"]),
        ({"photos": {"source": "folder"}}, ["photos.path"]),
    ],
)
def test_what_cannot_be_is_refused_at_once(mapping, words):
    with pytest.raises(UserError) as caught:
        load(mapping)
    for word in words:
        assert word in str(caught.value)


def test_resolutions_follow_the_network():
    """Nobody trains on enlarged photographs because one of three numbers was left at its default."""
    config = load({})
    assert config.alignment.resolution == config.dataset.resolution == config.network.image_resolution == 512
    stages = [{"from_kimg": 1, "image_resolution": 256}]
    config = load({"network": {"image_resolution": 64}, "training": {"stages": stages}})
    assert (config.alignment.resolution, config.dataset.resolution) == (256, 256)


def test_old_keys_are_taken_over_with_a_word(caplog):
    old = {
        "photos": {"delivery": "deepfashion", "count": 7},
        "training": {"batch": 4, "stages": [{"from_kimg": 1, "normal_head": False, "gamma": 3}]},
    }
    config = load(old)
    assert (config.photos.layout, config.synthetic.count, config.training.batch_size) == ("deepfashion", 7, 4)
    assert config.training.stages[0].named() == {"use_normal_discriminator": False, "r1_gamma": 3.0}
    told = caplog.text
    for new in ("photos.layout", "synthetic.count", "training.batch_size", "training.stages[0].r1_gamma"):
        assert new in told
    assert old["training"]["batch"] == 4  # what was given is left as it is


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_renamed_keys_exist(old, new):
    settings = {field.name: field for field in dataclasses.fields(Config)}
    section, name = new.split(".")
    names = {field.name for field in dataclasses.fields(default_of(settings[section]))}
    assert name in names
    section, name = old.split(".")
    assert name not in {field.name for field in dataclasses.fields(default_of(settings[section]))}


def test_a_key_under_both_names_is_refused():
    with pytest.raises(UserError, match=r"training\.gamma.*old name of 'training\.r1_gamma'"):
        load({"training": {"gamma": 1, "r1_gamma": 2}})
    with pytest.raises(UserError, match=r"photos\.count.*old name of 'synthetic\.count'"):
        load({"photos": {"count": 1}, "synthetic": {"count": 2}})


def test_options_have_their_old_names_too():
    parser = argparse.ArgumentParser()
    add_options(parser, Training)
    settings = from_options(Training, parser.parse_args(["--gamma", "3", "--batch", "4"]))
    assert (settings.r1_gamma, settings.batch_size) == (3.0, 4)


@pytest.mark.parametrize(
    "text", ["run: a\nrun: b\n", "training: {seed: 1}\ntraining: {seed: 2}\n", "training: {seed: 1, seed: 2}\n"]
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"c\.yaml.*stands in line"):
        read_yaml(path)


def test_options_override_files(tmp_path):
    (tmp_path / "a.yaml").write_text("run: a\nexport: {iso_level: -0.01, texture_source: field, fps: 2}\n")
    (tmp_path / "b.json").write_text('{"export": {"fps": 3, "number": 1}, "machine": {"gpus": 2}}')
    parser = argparse.ArgumentParser()
    add_options(parser, Export)
    line = ["--config", str(tmp_path / "a.yaml"), str(tmp_path / "b.json"), "--number", "5", "--motions", "[walk]"]
    settings = from_options(Export, parser.parse_args(line))
    assert (settings.iso_level, settings.texture_source, settings.fps) == (-0.01, "field", 3)
    assert (settings.number, settings.motions) == (5, ["walk"])
    assert from_options(Export, parser.parse_args([])) == Export()
    assert "one of auto, images, field" in " ".join(parser.format_help().split())
    with pytest.raises(UserError, match="texture_source"):
        from_options(Export, parser.parse_args(["--texture-source", "q"]))


def test_files_are_checked_as_a_whole(tmp_path):
    """A section that a command does not use, and settings outside their section, are no silent defaults."""
    parser = argparse.ArgumentParser()
    add_options(parser, Export)
    for text, words in {
        "fps: 3": "unknown key 'fps'",
        "training: {batch_siz: 3}": "did you mean 'training.batch_size'",
    }.items():
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(UserError, match=words):
            from_options(Export, parser.parse_args(["--config", str(tmp_path / "c.yaml")]))


def test_yaml_never_constructs_objects(tmp_path):
    file = tmp_path / "evil.yaml"
    mark = tmp_path / "mark"
    file.write_text(f"run: !!python/object/apply:os.system ['touch {mark}']\n")
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(file)
    assert not mark.exists()


def test_configuration_checks_across_keys():
    with pytest.raises(UserError, match=r"photos\.path"):
        load({"photos": {"source": "folder"}})
    with pytest.raises(UserError, match="run"):
        load({"run": "../outside"})
    with pytest.raises(UserError, match="differ"):
        load({"run": "same", "dataset_name": "same"})


def test_every_key_is_explained():
    def walk(entry, place):
        if "properties" in entry:
            for name, child in entry["properties"].items():
                walk(child, f"{place}.{name}")
        else:
            assert entry["description"], place

    walk(schema(Config), "")


def test_short_scientific_numbers_are_numbers(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("learning_rate_g: 1e-4\n")
    assert from_mapping(Training, read_yaml(file)).learning_rate_g == 1e-4
    with pytest.raises(UserError, match="learning_rate_g"):
        from_mapping(Training, {"learning_rate_g": "1e"})


def test_home_folder_is_filled_in(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    config = load({"photos": {"source": "folder", "path": "~/pictures"}, "body": {"file": "~/smpl.pkl"}})
    assert (config.photos.path, config.body.file) == ("/home/someone/pictures", "/home/someone/smpl.pkl")


def test_milestones_sort_by_name():
    assert Training(kimg=3.0, milestones=2).milestone_names() == ["000001.5", "000003"]
    assert Training(kimg=0.04, milestones=2).milestone_names() == ["000000.02", "000000.04"]
    names = Training(kimg=25000, milestones=7).milestone_names()
    assert names == sorted(names)
    assert names[-1] == "025000"


def bomb(first: str, times: str) -> str:
    """YAML whose anchors stand for 10^9 parts."""
    lines = [first.replace("N", "0")]
    for k in range(1, 10):
        lines.append(times.replace("N", str(k)).replace("OLD", ", ".join([f"*a{k - 1}"] * 10)))
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb("aN: &aN [x, x]", "aN: &aN [OLD]") + "\nrun: *a9",
        bomb("aN: &aN {x: 1}", "aN: &aN {<<: [OLD]}") + "\nrun: *a9",
        "ablations: {seeds: &a [*a]}",
        "photos: &a {onnx: *a}",
    ],
)
def test_anchors_do_not_multiply_without_end(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"c\.yaml is not valid YAML: its anchors"):
        read_yaml(path)


def test_values_in_messages_are_short():
    with pytest.raises(UserError) as caught:
        load({"run": [["x" * 10**6] * 100] * 100, "photos": {}})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["x: !!timestamp x", "? [a, b]\n: 1", "x: !!int q", "&a : &a *a", "x: 2026-13-45"])
def test_strange_yaml_is_one_error(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        load(read_yaml(path))


def test_a_key_twice_in_json_is_refused(tmp_path):
    path = tmp_path / "c.json"
    path.write_text('{"training": {"seed": 1, "seed": 2}}')
    with pytest.raises(UserError, match=r"c\.json: 'seed' stands in it twice"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("key", "name"), [("run", "body"), ("dataset_name", "models"), ("run", "x" * 300), ("run", "a\n")]
)
def test_names_that_are_taken_or_too_long(key, name):
    with pytest.raises(UserError, match=f"'{key}'"):
        load({key: name})


def test_huge_whole_numbers_are_no_traceback():
    with pytest.raises(UserError, match=r"training\.kimg.*finite"):
        load({"training": {"kimg": 10**400}})
