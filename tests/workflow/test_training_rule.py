"""The training's rule: its milestones, and how many processes it starts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support import ROOT
from support.workflow import dry_run, job_counts, snakemake

from ag3d.config import load, read
from ag3d.config.stages import resolve


def planned(directory: Path, *arguments: str, training: dict | None = None, **machine) -> str:
    """What Snakemake tells of the jobs that would run up to the training with these settings."""
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings["machine"] |= machine
    settings["training"] |= training or {}
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(directory, "-n", "-p", "train", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def commands(directory: Path, *arguments: str, **machine) -> list[str]:
    """The shell commands of the training jobs."""
    return re.findall(r"python -m .*ag3d\.model\.training .*", planned(directory, *arguments, **machine))


@pytest.mark.parametrize(("gpus", "offered", "started"), [(0, 1, 0), (1, 1, 1), (2, 2, 2), (4, 4, 4), (4, 2, 2)])
def test_as_many_gpus_as_are_offered(tmp_path, gpus, offered, started):
    lines = commands(tmp_path, "--resources", f"gpu={offered}", gpus=gpus)
    assert lines
    for command in lines:
        assert f"ag3d.core.launch --nodes 1 --gpus {started} --threads " in command


def test_several_computers_are_counted_as_tasks_of_srun(tmp_path):
    for command in commands(tmp_path, gpus=8, nodes=4):
        assert "ag3d.core.launch --nodes 4 --gpus 8 --threads " in command


def test_a_milestone_knows_the_stages_before_it(tmp_path):
    stages = [
        {"from_kimg": 1.5, "normal_weight": 0.5},
        {"from_kimg": 2.5, "r1_gamma": 3.0},
        {"from_kimg": 9.0, "r1_gamma": 2.0},
    ]
    text = planned(tmp_path, training={"kimg": 3.0, "milestones": 2, "stages": stages})
    files = re.findall(r"cp (\S+) results/demo/config/training/([\d.]+)\.json", text)
    told = {kimg: read([tmp_path / source]).training.stages for source, kimg in files}
    told = {kimg: [{"from_kimg": stage.from_kimg} | stage.named() for stage in told[kimg]] for kimg in told}
    assert told == {"000001.5": [], "000002.5": stages[:1], "000003": stages[:2]}


@pytest.mark.parametrize("name", ["deepfashion", "ubcfashion"])
def test_the_recipes_end_with_the_released_networks_shape(tmp_path, name):
    content = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    content["photos"]["path"] = str(tmp_path / "photographs")
    settings = load(content)
    for training, network in [
        (training, network) for _, training, network in resolve(settings.training, settings.network)
    ]:
        assert training.batch_size % (settings.machine.gpus * settings.machine.micro_batch) == 0
        assert settings.machine.micro_batch % network.mbstd_group_size == 0
    assert (network.image_resolution, network.use_normal_discriminator, network.use_face_discriminator) == (
        512,
        True,
        True,
    )
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs/a.jpg").write_bytes(b"x")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    counts = job_counts(dry_run(tmp_path, "train", "--configfile", str(tmp_path / "mine.yaml")))
    assert counts["training"] == settings.training.milestones
