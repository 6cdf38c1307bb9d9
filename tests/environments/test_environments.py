"""Pins and images: complete, exact, and saying the same."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from support import ROOT
from support.image_recipes import apptainer, docker

PINS = sorted((ROOT / "envs").glob("requirements*.txt"))


@pytest.mark.parametrize("file", PINS, ids=lambda path: path.stem)
def test_every_version_is_exact_and_hashed(file):
    blocks = re.sub(r"\\\n", "", "".join(line for line in file.open() if not line.startswith("#"))).splitlines()
    assert blocks
    for block in blocks:
        assert re.fullmatch(r"[\w.\-]+==[\w.+\-]+( +;[^\\]*?)?( +--hash=sha256:[0-9a-f]{64})+ *", block), block[:100]


def pins() -> str:
    return "".join((ROOT / "envs" / name).read_text() for name in ("requirements.txt", "requirements-torch.txt"))


def test_what_the_package_needs_is_pinned():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {re.match(r"[\w.\-]+", line).group().lower() for line in pins().splitlines() if "==" in line}
    needed = {re.match(r"[\w.\-]+", line).group().lower() for line in project["dependencies"]}
    assert needed <= pinned, needed - pinned


def test_installed_versions_are_those():
    """Of this environment, which make setup made; no file could be another than those that are pinned."""
    from importlib.metadata import version

    for name in ("numpy", "torch", "snakemake", "pyarrow"):
        pinned = re.search(rf"^{name}==(\S+)", pins(), re.MULTILINE)
        assert version(name).split("+")[0] == pinned.group(1)


def test_both_images_install_the_same():
    def packages(text: str) -> set[str]:
        return set(re.search(r"apt-get install --yes --no-install-recommends ([\w\- ]+)", text).group(1).split())

    sections = apptainer()
    assert f"From: {dict(docker())['FROM']}" in sections[""]
    assert packages((ROOT / "Dockerfile").read_text()) == packages("\n".join(sections["post"]))


def test_the_image_runs_as_any_user_and_its_base_is_one_image():
    steps = docker()
    assert re.fullmatch(r"debian:12-slim@sha256:[0-9a-f]{64}", dict(steps)["FROM"])
    names = [name for name, _ in steps]
    assert dict(steps)["USER"] != "root"
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "RUN")
    setup = [text for name, text in steps if name == "RUN"][-1]
    assert "chmod 1777 . results /home/ag3d" in setup
    assert {"HOME=/home/ag3d", "USER=ag3d"} <= {text for name, text in steps if name == "ENV"}


@pytest.mark.parametrize("name", ["post", "environment", "runscript", "test"])
def test_scripts_of_the_recipe_are_valid(name):
    subprocess.run(
        [shutil.which("bash") or "/bin/bash", "-n"], input="\n".join(apptainer()[name]), text=True, check=True
    )


@pytest.mark.parametrize("file", sorted(ROOT.glob("profiles/*/*.sh")), ids=lambda path: path.name)
def test_scripts_are_valid(file):
    subprocess.run([shutil.which("bash") or "/bin/bash", "-n", str(file)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(file)], check=True)
