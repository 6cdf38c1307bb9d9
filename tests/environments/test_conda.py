"""--sdm conda: every rule has an environment, whose pins are pip's; Snakemake makes it and runs jobs in it.

Conda itself comes from no package index that tests may need: a stand-in of its commands makes the environment from this one's
packages, so what is tested is all but the download.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from support import ROOT, small_run
from support.workflow import snakemake

CONTENTS = {
    "ag3d": ["requirements-torch.txt", "requirements.txt", "requirements-cuda.txt"],
    "paddleseg": ["requirements-paddleseg.txt"],
}

# An environment of the packages that this one has, but not the project itself: the script after its making installs that.
CONDA = """#!/usr/bin/env bash
set -euo pipefail
case "$1 ${2:-}" in
"info --json") echo '{"conda_prefix": "HOME", "platform": "linux-64"}' ;;
"--version ") echo "conda 24.9.2" ;;
"clean -y") ;;
"config --get") echo '{"get": {"channel_priority": "strict"}}' ;;
"env create")
    while [ $# -gt 0 ]; do case "$1" in --file) file=$2 ;; --prefix) prefix=$2 ;; esac; shift; done
    cp "$file" HOME/asked.yaml
    PYTHON -m venv --without-pip "$prefix"
    place=$(echo "$prefix"/lib/python*/site-packages)
    echo PACKAGES > "$place/packages.pth"
    echo "import os, sys; open('HOME/seen', 'a').write(sys.prefix + ' ' + ' '.join(sys.orig_argv) + chr(10))" > "$place/seen.pth"
    ;;
*) echo "unknown: $*" >&2; exit 1 ;;
esac
"""


@pytest.mark.parametrize("name", CONTENTS)
def test_pins_are_those_of_pip(name):
    content = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    *conda, pip = content["dependencies"]
    assert all(re.fullmatch(r"[\w\-]+=[\d.]+", entry) for entry in conda), conda
    options, *pins = pip["pip"]
    assert options == "--require-hashes"
    expected = []
    for part in CONTENTS[name]:
        text = "".join(line for line in (ROOT / "envs" / part).open() if not line.startswith("#"))
        expected += [" ".join(block.split()) for block in text.replace("\\\n", " ").splitlines() if block.strip()]
    assert [" ".join(pin.split()) for pin in pins] == expected


def test_every_rule_that_runs_something_has_the_environment(tmp_path):
    """As Snakemake understood them."""
    work = photographs(tmp_path)
    seen = "for r in workflow.rules:\n    if r.shellcmd:\n        print('RULE', r.name, r.conda_env, file=sys.stderr)\n"
    (tmp_path / "Snakefile").write_text(f"import sys\n\ninclude: '{ROOT}/Snakefile'\n\n{seen}")
    told = snakemake(
        work,
        "--snakefile",
        str(tmp_path / "Snakefile"),
        "--list-rules",
        "--config",
        f"ablations={{folder: {ROOT}/config/ablations}}",
    )
    environments = dict(re.findall(r"^RULE (\w+) (.*)$", told.stderr, re.MULTILINE))
    assert "training" in environments, told.stderr
    assert {name: place for name, place in environments.items() if not place.endswith("envs/ag3d.yaml")} == {}


def photographs(tmp_path: Path) -> Path:
    """A working directory whose first stage needs nothing else."""
    work = tmp_path / "work"
    (work / "mine").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (200, 150, 3), np.uint8)
    Image.fromarray(noise).save(work / "mine/a.jpg")
    settings = small_run.settings(gpus=0)
    settings["photos"] = {"source": "folder", "path": "mine", "shards": 1}
    (work / "config.yaml").write_text(yaml.safe_dump(settings))
    return work


@pytest.mark.slow
def test_jobs_run_in_the_environment(tmp_path):
    work, home = photographs(tmp_path), tmp_path / "conda"
    (home / "bin").mkdir(parents=True)
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    text = CONDA.replace("HOME", str(home)).replace("PYTHON", sys.executable).replace("PACKAGES", str(packages))
    (home / "bin/conda").write_text(text)
    (home / "bin/activate").write_text('export PATH="$1/bin:$PATH"\n')
    (home / "bin/conda").chmod(0o755)
    target = f"results/{small_run.DATA}/photos/00000.parquet"
    path = f"{home}/bin:{os.environ['PATH']}"
    done = small_run.snakemake(work, target, "--cores", "1", "--sdm", "conda", PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / target).exists()
    assert yaml.safe_load((home / "asked.yaml").read_text())["name"] == "ag3d"
    ran = [line for line in (home / "seen").read_text().splitlines() if "-m ag3d.preprocessing.photos" in line]
    (prefix,) = {Path(line.split(" ")[0]) for line in ran}
    assert prefix.is_relative_to(work / ".snakemake/conda")
    assert list(prefix.glob("lib/python*/site-packages/*ag3d*")), "the project was not installed in the environment"
    # Without --sdm nothing of this changes a thing: no job runs again.
    again = small_run.snakemake(work, target, "--cores", "1")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_without_conda_it_is_told(tmp_path):
    work = photographs(tmp_path)
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    if subprocess.run(["sh", "-c", "command -v conda"], env={"PATH": path}, capture_output=True).returncode == 0:
        pytest.skip("conda is installed")
    target = f"results/{small_run.DATA}/photos/00000.parquet"
    told = small_run.snakemake(work, target, "--cores", "1", "--sdm", "conda", PATH=path)
    assert told.returncode != 0
    assert "conda" in told.stderr
