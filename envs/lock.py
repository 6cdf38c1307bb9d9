"""Write the SHA-256 of every file that each pinned version has, into envs/requirements*.txt, and the same pins into the
environments for conda: make lock.

To change a version, change its line (`name==version`), and run it. pip then refuses any file that is not one of these. uv
looks the hashes up; nothing is resolved and no version changes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# Builds of the same version that PyTorch publishes elsewhere than on the package index: for CPUs, Linux x86-64.
ELSEWHERE = {"torch==2.13.0": ["6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"]}
# The environments for conda, and what is in them beside Python.
CONDA = {
    "ag3d": ("requirements-torch.txt", "requirements.txt", "requirements-cuda.txt"),
    "paddleseg": ("requirements-paddleseg.txt",),
}


def lock(path: Path) -> None:
    text = path.read_text()
    comments = "".join(re.findall(r"^#.*\n", text, re.MULTILINE))
    pins = re.findall(r"^[\w.\-]+==[\w.+\-]+", text, re.MULTILINE)
    options = ["--no-deps", "--no-header", "--no-annotate", "--universal", "--python-version", "3.11", "--quiet"]
    line = ["uv", "pip", "compile", *options, "--generate-hashes", "-"]
    made = subprocess.run(line, input="\n".join(pins), capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"{path}: {made.stderr}")
    for pin, hashes in ELSEWHERE.items():
        more = "".join(f"\n    --hash=sha256:{value} \\" for value in hashes)
        made.stdout = made.stdout.replace(f"{pin} \\", f"{pin} \\{more}")
    path.write_text(comments + made.stdout)


def write_conda(name: str) -> None:
    """Put the pins into envs/<name>.yaml, each on its own: Snakemake copies the file, so it can't refer to others."""
    path = FOLDER / f"{name}.yaml"
    head = path.read_text().split("  - pip:\n")[0]
    lines = ["      - --require-hashes"]
    for part in CONDA[name]:
        text = re.sub(r"^#.*\n", "", (FOLDER / part).read_text(), flags=re.MULTILINE)
        blocks = re.sub(r" *\\\n *", " ", text).splitlines()
        lines += [f"      - {block.strip()}" for block in blocks if block.strip()]
    path.write_text(head + "  - pip:\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("requirements*.txt")):
        lock(file)
    for environment in CONDA:
        write_conda(environment)
