"""What the images do to a bare Debian, done to one here: the very steps of Dockerfile and Apptainer recipe in a fresh tree that
debootstrap made, then the pipeline inside. No container engine is needed, but root, and Debian's packages.

It takes minutes and a gigabyte: AG3D_LONG_TESTS=1 asks for it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from support import ROOT, small_run
from support.image_recipes import apptainer, docker

CERTIFICATES = "/usr/local/share/this-machine.crt"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not small_run.LONG, reason="takes minutes; AG3D_LONG_TESTS=1 asks for it"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="no debootstrap (Debian: apt install debootstrap)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and debootstrap need root"),
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of debian:12-slim and no more."""
    tree = tmp_path_factory.mktemp("debian") / "bare"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", "bookworm", str(tree)], capture_output=True, text=True, timeout=1200
    )
    if made.returncode:
        pytest.skip(f"debootstrap could not fetch Debian's packages: {(made.stdout + made.stderr)[-300:]}")
    return tree


@pytest.fixture
def tree(bare: Path, tmp_path: Path) -> Iterator[Path]:
    tree = tmp_path / "tree"
    subprocess.run(["cp", "-a", "--reflink=auto", str(bare), str(tree)], check=True)
    # How this machine reaches the package index; an image's builder has the same to say.
    for name in ("etc/resolv.conf", "etc/hosts"):
        shutil.copy(f"/{name}", tree / name)
    if certificates := os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE"):
        shutil.copy(certificates, tree / CERTIFICATES[1:])
    yield tree
    shutil.rmtree(tree)


def inside(tree: Path, command: str, folder: str = "/", user: str = "root", **more: str) -> str:
    """Run a shell command in the tree, with nothing of this environment but how to reach the package index."""
    carried = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
    if "PIP_CERT" in carried:
        carried["PIP_CERT"] = CERTIFICATES
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive", **carried, **more}
    mounts = [f"mount -t proc proc {shlex.quote(str(tree))}/proc", f"mount --rbind /dev {shlex.quote(str(tree))}/dev"]
    wheels = os.environ.get("PIP_FIND_LINKS", "")
    if Path(wheels).is_absolute() and Path(wheels).is_dir():  # a folder of files that pip may take
        (tree / wheels[1:]).mkdir(parents=True, exist_ok=True)
        mounts.append(f"mount --bind {shlex.quote(wheels)} {shlex.quote(str(tree) + wheels)}")
    step = f"cd {shlex.quote(folder)} && {command}"
    told = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    script = " && ".join(
        [*mounts, f"exec chroot --userspec={user} {shlex.quote(str(tree))} env -i {told} sh -c {shlex.quote(step)}"]
    )
    # A mount namespace of its own: whatever happens, the mounts end with it.
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "bash", "-c", script], capture_output=True, text=True, timeout=2400
    )
    assert done.returncode == 0, f"{command}\n{(done.stdout + done.stderr)[-5000:]}"
    return done.stdout


def copy_project(target: Path, links: bool) -> None:
    """The project's files without those that .dockerignore names: with its links (`COPY . .` of a Dockerfile), or with what
    they point to (`%files` of an Apptainer recipe)."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        if not name or not (ROOT / name).exists() or name.split("/")[0] in ignored:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir() and not links:
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target / name, follow_symlinks=not links)


def small_configuration(folder: Path) -> str:
    (folder / "small.yaml").write_text(yaml.safe_dump(small_run.settings(gpus=0)))
    return "small.yaml"


def check(folder: Path) -> None:
    """The results of a training inside the tree."""
    index = json.loads((folder / "results" / small_run.DATA / "index.json").read_text())
    assert index["number"] > 0
    assert list((folder / "results" / small_run.RUN / "training").glob("*/generator_ema.safetensors"))


@pytest.mark.parametrize("user", ["", "12345:12345"], ids=["its own user", "a user that the image does not know"])
def test_dockerfile_on_a_bare_debian(tree, user):
    folder, environment = "/", {}
    start: list[str] = []
    for name, text in docker():
        if name == "WORKDIR":
            folder = text
            (tree / folder[1:]).mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            assert text == ". ."
            copy_project(tree / folder[1:], links=True)
        elif name == "RUN":
            inside(tree, text, folder, **environment)
        elif name == "ENV":
            key, value = text.split("=", 1)
            environment[key] = value.replace("$PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        elif name == "USER":
            user = user or text
        elif name == "ENTRYPOINT":
            start = json.loads(text)
    work = tree / folder[1:]
    line = [*start, "--cores", "all", "train", "--configfile", small_configuration(work)]
    inside(tree, shlex.join(line), folder, user, **environment)
    check(work)


def test_apptainer_recipe_on_a_bare_debian(tree):
    sections = apptainer()
    assert [line.split() for line in sections["files"]] == [[".", "/ag3d"]]
    copy_project(tree / "ag3d", links=False)
    inside(tree, "set -e\n" + "\n".join(sections["post"]))
    environment = "\n".join(sections["environment"])
    inside(tree, f"{environment}\n" + "\n".join(sections["test"]))
    work = tree / "work"
    work.mkdir()
    arguments = f"set -- data --cores all --configfile {small_configuration(work)}"
    inside(tree, "\n".join([":", environment, arguments, *sections["runscript"]]), "/work")
    index = json.loads((work / "results" / small_run.DATA / "index.json").read_text())
    assert index["number"] > 0
    assert re.search(r"/ag3d/.venv", environment)
