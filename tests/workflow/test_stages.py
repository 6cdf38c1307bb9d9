"""A stage has one word: its rule, its module, its results, its section of the configuration, its verb. docs/workflow.md has the table."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.workflow import dry_run, snakemake

from ag3d.cli import VERBS
from ag3d.config import Config

# Tells of every rule that starts a module: its name, the module and the first result.
TELLING = r"""
import re, sys, json
for r in workflow.rules:
    if r.shellcmd and (module := re.findall(r"\bag3d\.(?!core\.launch)[\w.]+", r.shellcmd)):
        print("RULE", json.dumps([r.name, module[0], str(r.output[0])]), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Rule to module and first result, of the demo and of a data set made elsewhere."""
    rules: dict[str, tuple[str, str]] = {}
    for source in ("synthetic", "zip"):
        work = tmp_path_factory.mktemp(source)
        (work / "ag3d.zip").touch()
        photos = {"source": source, "path": str(work / "ag3d.zip") if source == "zip" else ""}
        (work / "config.yaml").write_text(yaml.safe_dump({"run": "RUN", "dataset_name": "DATA", "photos": photos}))
        (work / "Snakefile").write_text(f"include: '{ROOT}/Snakefile'\n\n{TELLING}")
        told = snakemake(work, "--snakefile", str(work / "Snakefile"), "--list-rules", "--config", f"ablations={{folder: {ROOT}/config/ablations}}")  # fmt: skip
        for line in re.findall(r"^RULE (.*)$", told.stderr, re.MULTILINE):
            name, module, result = json.loads(line)
            rules[name] = (module, result)
        assert rules, told.stderr
    return rules


def table() -> dict[str, list[str]]:
    """Rule to module, results, section and verb, of the table in docs/workflow.md."""
    rows = re.findall(r"^\| `(\w+)` \| `ag3d\.(.*)$", (ROOT / "docs/workflow.md").read_text(), re.MULTILINE)
    return {rule: [cell.strip(" `") for cell in f"ag3d.{rest}".rstrip("| ").split("|")] for rule, rest in rows}


def test_the_table_is_that_of_the_rules(rules):
    stages = {name: rule for name, rule in rules.items() if not name.startswith("ablation_")}
    assert set(table()) == set(stages)
    sections = {field.name for field in dataclasses.fields(Config)}
    for name, (module, results, section, verb) in table().items():
        assert module == stages[name][0]
        assert stages[name][1].startswith(f"results/{results}"), name
        assert section in sections | {""}, name
        assert f"ag3d.{VERBS[verb][0]}" in (module, f"{module}.stage", f"{module}.__main__"), name


def test_a_stage_has_one_word():
    for name, (module, results, section, verb) in table().items():
        assert module.rpartition(".")[2] == name
        assert verb.replace("-", "_") == name
        if name not in ("import_zip", "pose_distribution"):  # which write dataset/ and poses.npy
            assert name in results
        if name in {field.name for field in dataclasses.fields(Config)}:
            assert section == name


@pytest.mark.parametrize(("folder", "key"), [("demo-data/mattes", "dataset_name"), ("demo/ckpt", "run")])
def test_results_of_an_earlier_layout_are_refused(tmp_path: Path, folder: str, key: str):
    (tmp_path / "config.yaml").write_text("run: demo\ndataset_name: demo-data\n")
    (tmp_path / "results" / folder).mkdir(parents=True)
    told = dry_run(tmp_path)
    assert told.returncode != 0
    assert f"choose another '{key}'" in told.stdout + told.stderr
