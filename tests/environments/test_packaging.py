from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from support import ROOT

from ag3d.config import Config, schema
from ag3d.config.settings import from_mapping, read_yaml
from ag3d.config.template import template


def test_imports_follow_the_files(tmp_path: Path) -> None:
    """Without an installation, from the checkout and from a folder that holds it by the package's own name."""
    (tmp_path / "ag3d").symlink_to(ROOT)
    where = "import ag3d, ag3d.preprocessing.alignment as module; print(ag3d.__version__, module.__file__)"
    for folder, path in ((ROOT, ""), (tmp_path, str(ROOT))):
        done = subprocess.run(
            [sys.executable, "-c", where],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.split()[1]).resolve() == ROOT / "preprocessing" / "alignment.py"


def test_every_folder_of_modules_is_a_package() -> None:
    """setuptools finds packages by these files."""
    for top in ("ag3d", "preprocessing", "model", "evaluation"):
        folders = {file.parent for file in (ROOT / top).rglob("*.py")}
        assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_generated_files_are_up_to_date() -> None:
    kept = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    kept.pop("$schema")
    assert kept == schema(Config), "run: python -m ag3d.config --schema > workflow/schemas/config.schema.yaml"
    reference = (ROOT / "config/reference.yaml").read_text()
    assert reference == template(Config()), "run: python -m ag3d.config --template > config/reference.yaml"
    demo = ROOT / "config.yaml"
    assert demo.read_text() == template(from_mapping(Config, read_yaml(demo))), (
        "run: python -m ag3d.config --template config.yaml > new && mv new config.yaml"
    )
