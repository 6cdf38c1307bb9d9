from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_every_package_is_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {"ag3d"}
    for top, prefix in (
        ("ag3d", "ag3d"),
        ("preprocessing", "ag3d.preprocessing"),
        ("model", "ag3d.model"),
        ("evaluation", "ag3d.evaluation"),
    ):
        for init in (ROOT / top).rglob("__init__.py"):
            inner = init.parent.relative_to(ROOT / top).parts
            found.add(".".join((prefix, *inner)))
    assert found == set(declared)


def test_schema_is_up_to_date():
    yaml = pytest.importorskip("yaml")
    from ag3d.config import Config, schema

    kept = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    kept.pop("$schema")
    assert kept == schema(Config), "run: python -m ag3d.config --schema > workflow/schemas/config.schema.yaml"
