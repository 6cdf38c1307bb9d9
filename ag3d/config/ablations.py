"""Variants of an experiment: what a file of a folder says is laid over the configuration, for each of several seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ag3d.config import Config, load
from ag3d.config.settings import read_yaml
from ag3d.core.errors import UserError

FULL = "full"
SECTIONS = ("network", "training")  # what a variant may change: the data set and the measuring are the same for all


def read_variants(folder: Path) -> dict[str, dict[str, Any]]:
    """Variant to what it changes: `full`, which changes nothing, and a variant for each YAML file. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"configuration: 'ablations.folder': {folder} does not exist")
    found: dict[str, dict[str, Any]] = {FULL: {}}
    for path in sorted(folder.glob("*.yaml")):
        found[path.stem] = read_yaml(path)
        for name in found[path.stem]:
            if name not in SECTIONS:
                raise UserError(f"{path}: '{name}' cannot be varied; a variant may change {' and '.join(SECTIONS)}")
    return found


def variant(configuration: Mapping[str, Any], changes: Mapping[str, Any], seed: int) -> Config:
    """The whole configuration of a variant. Raises UserError naming the key."""
    return load(_merged(_merged(configuration, changes), {"training": {"seed": seed}}))


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    found = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(found.get(key), Mapping)
        found[key] = _merged(found[key], value) if both else value
    return found
