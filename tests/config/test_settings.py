from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from ag3d.config import Config, Training, load, schema, to_mapping
from ag3d.config.settings import add_options, from_mapping, from_options, option, read_yaml
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


def test_not_a_number_is_refused_where_a_range_is_declared():
    with pytest.raises(UserError, match="gamma"):
        from_mapping(Training, {"gamma": float("nan")})


def test_options_override_settings():
    parser = argparse.ArgumentParser()
    add_options(parser, Outer)
    outer = from_options(
        Outer, parser.parse_args(["--settings", '{"rate": 2, "name": "y"}', "--rate", "3", "--sizes", "[5]"])
    )
    assert (outer.rate, outer.name, outer.sizes) == (3.0, "y", [5])
    assert from_options(Outer, parser.parse_args([])) == Outer()
    assert "a width" not in parser.format_help()
    assert "one of x, y" in parser.format_help()
    with pytest.raises(UserError, match="name"):
        from_options(Outer, parser.parse_args(["--name", "q"]))


def test_settings_from_a_file(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("rate: 7\n")
    parser = argparse.ArgumentParser()
    add_options(parser, Outer)
    assert from_options(Outer, parser.parse_args(["--settings", str(file)])).rate == 7


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
