"""Photographs and folders whose names would do something in a shell or to Snakemake: they are only names."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import ROOT
from support.workflow import snakemake

from ag3d.core.files import read_table

pytestmark = pytest.mark.slow

NAMES = [
    "$(touch pwned).png", "`touch pwned`.png", "; touch pwned; .png", "a' \"b.png", "-rf.png", "{x}{input}.png", "a\nb.png",
    "| touch pwned.png", "> pwned.png", "*?.png", "&& touch pwned &&.png", "~.png", "%s %d.png", "!!python.png",
]  # fmt: skip


def listed(directory: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings["photos"] |= {"source": "folder", "path": str(folder), "shards": 1, "min_side": 16}
    (directory / "config.yaml").write_text(yaml.safe_dump(settings))
    return snakemake(directory, "results/demo-data/photos/00000.parquet", "--cores", "1")


def photographs(folder: Path) -> None:
    folder.mkdir(parents=True)
    for index, name in enumerate(NAMES):
        pixels = np.random.default_rng(index).integers(0, 255, (20, 20, 3), np.uint8)
        with open(folder / name, "wb") as handle:
            Image.fromarray(pixels).save(handle, "PNG")


@pytest.mark.parametrize("name", ["photos", "my $(touch pwned) `touch pwned`'; touch pwned; \"&"])
def test_names_are_only_names(tmp_path, name):
    folder = tmp_path / name
    photographs(folder)
    done = listed(tmp_path, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    table = read_table(tmp_path / "results/demo-data/photos/00000.parquet")
    assert sorted(table["path"]) == sorted(NAMES)
    assert (table["status"] == "ok").all()
    assert table["photo_id"].str.fullmatch(r"[A-Za-z0-9-]+").all()
    assert not list(tmp_path.rglob("pwned*"))
    assert not (ROOT / "pwned").exists()


def test_braces_in_the_folders_name(tmp_path):
    """Snakemake reads {x} in a path as a wildcard, so it is refused with a way out."""
    folder = tmp_path / "from {2024}"
    photographs(folder)
    done = listed(tmp_path, folder)
    assert done.returncode != 0
    assert "photos.path is" in done.stdout + done.stderr
    assert "cannot read braces" in done.stdout + done.stderr


def test_a_bodys_name_is_one_word_of_every_command(tmp_path):
    body = tmp_path / "my $(touch pwned) 'body'.npz"
    body.touch()
    settings = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"body": {"file": str(body)}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    done = snakemake(tmp_path, "-n", "-p")
    lines = [shlex.split(line) for line in re.findall(r"python -m .* --body .*", done.stdout)]
    assert len(lines) > 10
    # The open photographs are rendered of the open body.
    assert {line[line.index("--body") + 1] for line in lines} == {str(body), "results/body/body.npz"}


def test_paths_are_quoted_in_every_command():
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        for line in re.findall(r"^ +\+? ?f?\"[^\"]*(?:--|python -m)[^\"]*\".*$", file.read_text(), re.MULTILINE):
            paths = re.findall(r"\{(?:input|output)[^{}]*\}", line)
            assert all(path.endswith(":q}") for path in paths), f"{file.name}: {line}"


def test_a_variants_name_is_a_plain_word(tmp_path):
    (tmp_path / "variants").mkdir()
    (tmp_path / "variants/v$(touch pwned).yaml").write_text("training: {r1_gamma: 3}")
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())
    settings["ablations"]["folder"] = str(tmp_path / "variants")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    told = snakemake(tmp_path, "-n", "ablations")
    assert told.returncode != 0
    assert "a variant is called as its file; use letters, digits" in told.stdout + told.stderr
