"""The workflow as a graph: what would run, and what stops it."""

from __future__ import annotations

import re

import pytest
import yaml
from support import ROOT
from support.workflow import dry_run, job_counts

from ag3d import config
from ag3d.core.errors import UserError


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text())
    return tmp_path


def rules_of_shards() -> set[str]:
    """The rules of which each makes one shard."""
    texts = [path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")]
    rules = [rule for text in texts for rule in re.split(r"^ *(?:use )?rule ", text, flags=re.MULTILINE)[1:]]
    outputs = {rule.split(":")[0]: re.search(r"output:(.*?)\n +\w+:\n", rule, re.DOTALL) for rule in rules}
    return {name for name, output in outputs.items() if output and "{shard}" in output[1]}


def test_every_shard_of_the_demo_runs_and_all_else_once(directory):
    counts = job_counts(dry_run(directory))
    settings = config.load(yaml.safe_load((ROOT / "config.yaml").read_text()))
    shards = rules_of_shards()
    assert shards & set(counts) >= {"photos", "people", "matting", "fitting", "alignment", "normals", "dataset"}
    for name, count in counts.items():
        if name in shards:
            assert count == settings.photos.shards, name
        elif name in ("synthetic", "avatars", "export", "viewer", "report"):
            assert count == 1, name
    assert counts["training"] == len(settings.training.milestone_names())


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
    ],
)
def test_wrong_settings_are_named(change, words):
    with pytest.raises(UserError, match=re.escape(words)):
        config.load(change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"trainning": {}}, "unknown key 'trainning'; did you mean 'training'?"),
        (
            {"photos": {"source": "folder", "path": "no/such/folder"}},
            "'photos.path' is 'no/such/folder', which does not exist",
        ),
        ({"matting": {"method": "onnx"}}, "'matting.onnx.file' is missing"),
        ({"normals": {"method": "onnx", "onnx": {"file": "no.onnx"}}}, "no.onnx does not exist; put the network there"),
        ({"fitting": {"method": "import", "imports": {"path": "no/fits"}}}, "'fitting.imports.path' is 'no/fits'"),
        ({"matting": {"method": "folder"}}, "'matting.folder' is ''"),
        ({"matting": {"method": "paddleseg"}}, "'matting.paddle.model' is ''"),
        ({"photos": {"source": "zip", "path": "no.zip"}}, "'photos.path' is 'no.zip'"),
    ],
)
def test_wrong_configuration_stops_the_workflow_at_once(directory, change, words):
    (directory / "config.yaml").write_text(yaml.safe_dump(change))
    told = dry_run(directory)
    assert told.returncode != 0
    assert words in told.stdout + told.stderr
    assert "Traceback" not in told.stdout + told.stderr


def test_a_data_set_made_elsewhere_skips_the_stages_before(directory):
    (directory / "ag3d.zip").write_bytes(b"")
    change = {"photos": {"source": "zip", "path": str(directory / "ag3d.zip"), "shards": 3}}
    (directory / "config.yaml").write_text(yaml.safe_dump(change))
    counts = job_counts(dry_run(directory, "--", "data"))
    assert counts == {"config": 2, "import_zip": 3, "rejected": 1, "index": 1, "pose_distribution": 1, "data": 1}


def test_a_delivered_data_set_is_checked_once(directory):
    (directory / "frames").mkdir()
    (directory / "frames" / "a.mp4").write_bytes(b"x")
    change = {"photos": {"source": "folder", "path": str(directory / "frames"), "layout": "ubcfashion", "shards": 3}}
    (directory / "config.yaml").write_text(yaml.safe_dump(change))
    counts = job_counts(dry_run(directory, "--", "data"))
    assert (counts["source_check"], counts["photos"], counts["dedup"]) == (1, 3, 1)


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


def test_a_configuration_runs_no_python(directory):
    """Snakemake's own reading runs what a file holds under YTE's key: config.yaml is looked at before."""
    text = "__use_yte__: true\n__definitions__:\n  - import os\n  - os.system('touch pwned')\nrun: mine\n"
    (directory / "config.yaml").write_text(text)
    told = dry_run(directory)
    assert told.returncode != 0
    assert "unknown key '__use_yte__'" in told.stdout + told.stderr
    assert not (directory / "pwned").exists()
    assert not (ROOT / "pwned").exists()
