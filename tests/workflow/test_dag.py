"""The workflow as a graph: what would run, and what stops it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support import ROOT

from ag3d import config


def dry_run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory)]
    return subprocess.run([*command, "-n", "-q", "rules", *arguments], capture_output=True, text=True, cwd=ROOT)


def job_counts(answer: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return {
        name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", answer.stdout + answer.stderr, re.MULTILINE)
    }


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    return tmp_path


def test_demo_runs_every_stage(directory):
    counts = job_counts(dry_run(directory))
    per_shard = {"photos", "people", "matting", "fitting", "alignment", "normals", "dataset"}
    once = {
        "body",
        "models",
        "synthetic",
        "index",
        "alike",
        "poses",
        "rejected",
        "truth",
        "avatars",
        "export",
        "viewer",
        "tables",
        "report",
        "all",
    }
    assert {name for name in counts if name != "total"} == per_shard | once | {
        "training",
        "metrics",
        "settings",
        "training_settings",
    }
    assert {counts[name] for name in per_shard} == {
        yaml.safe_load((ROOT / "config.yaml").read_text())["photos"]["shards"]
    }
    assert {counts[name] for name in once} == {1}


def test_own_photographs_need_no_synthetic_stage(directory):
    (directory / "my photos").mkdir()
    (directory / "my photos" / "a b.jpg").write_bytes(b"x")
    settings = yaml.safe_load((ROOT / "config/photos.yaml").read_text())
    settings["photos"]["path"] = str(directory / "my photos")
    (directory / "mine.yaml").write_text(yaml.safe_dump(settings))
    counts = job_counts(dry_run(directory, "--configfile", str(directory / "mine.yaml")))
    assert not {"synthetic", "truth"} & set(counts)
    assert counts["training"] == settings["training"]["milestones"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainning": {}}, "unknown key 'trainning'; did you mean 'training'?"),
        ({"training": {"batch_size": "eight"}}, "'training.batch_size' must be a whole number"),
        ({"photos": {"source": "folder"}}, "'photos.path' is missing"),
        ({"photos": {"source": "folder", "path": "no/such/folder"}}, "no/such/folder does not exist"),
        ({"matting": {"method": "onnx"}}, "'matting.onnx.file' is missing"),
        ({"normals": {"method": "onnx", "onnx": {"file": "no.onnx"}}}, "no.onnx does not exist; put the network there"),
        ({"fitting": {"method": "import", "imports": {"path": "no/fits"}}}, "'fitting.imports.path' is 'no/fits'"),
        ({"matting": {"method": "folder"}}, "'matting.folder' is ''"),
        ({"matting": {"method": "paddleseg"}}, "'matting.paddle.model' is ''"),
        ({"photos": {"source": "zip", "path": "no.zip"}}, "'photos.path' is 'no.zip'"),
    ],
)
def test_wrong_configuration_stops_at_once(directory, change, words):
    (directory / "config.yaml").write_text(yaml.safe_dump(change))
    answer = dry_run(directory)
    assert answer.returncode != 0
    assert words in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stdout + answer.stderr


def test_a_data_set_made_elsewhere_skips_the_stages_before(directory):
    (directory / "ag3d.zip").write_bytes(b"")
    change = {"photos": {"source": "zip", "path": str(directory / "ag3d.zip"), "shards": 3}}
    (directory / "config.yaml").write_text(yaml.safe_dump(change))
    counts = job_counts(dry_run(directory, "--", "data"))
    counts.pop("total")
    assert counts == {"import_zip": 3, "rejected": 1, "index": 1, "poses": 1, "data": 1}


def test_a_delivered_data_set_is_checked_once(directory):
    (directory / "frames").mkdir()
    (directory / "frames" / "a.mp4").write_bytes(b"x")
    change = {"photos": {"source": "folder", "path": str(directory / "frames"), "layout": "ubcfashion", "shards": 3}}
    (directory / "config.yaml").write_text(yaml.safe_dump(change))
    counts = job_counts(dry_run(directory, "--", "data"))
    assert (counts["delivery"], counts["photos"], counts["alike"]) == (1, 3, 1)


def test_ablations_train_every_variant_with_every_seed(directory):
    settings = yaml.safe_load((directory / "config.yaml").read_text())
    settings["ablations"]["seeds"] = [0, 5]
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    counts = job_counts(dry_run(directory, "--", "ablations"))
    variants = 1 + len(list((ROOT / "config" / "ablations").glob("*.yaml")))
    assert variants == 5
    # The run itself is the full model with its own seed.
    assert counts["ablation_training"] == counts["ablation_metrics"] == 2 * variants - 1
    assert (counts["training"], counts["metrics"]) == (settings["training"]["milestones"], 1)


@pytest.mark.parametrize("file", ["config.yaml", *(f"config/{path.name}" for path in (ROOT / "config").glob("*.yaml"))])
def test_shipped_configurations_are_valid(directory, file):
    settings = yaml.safe_load((ROOT / file).read_text())
    if settings.get("photos", {}).get("source") == "folder":
        assert settings["photos"]["path"] == ""
        settings["photos"]["path"] = str(directory)
    config.load(settings)


def test_default_configuration_explains_every_key():
    from ag3d.config import Config, to_mapping

    text = (ROOT / "config.yaml").read_text()
    given = yaml.safe_load(text)

    def walk(expected, actual, place):
        assert set(actual) == set(expected), f"{place}: the keys differ from the settings in ag3d/config"
        for key, value in expected.items():
            if isinstance(value, dict):
                walk(value, actual[key], f"{place}.{key}")
            else:
                assert re.search(rf"^ *#.*\n *{key}:", text, re.MULTILINE), f"{place}.{key} has no comment"

    walk(to_mapping(Config()), given, "")
