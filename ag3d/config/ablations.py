"""Variants of an experiment: what a file of a folder says is laid over the configuration, for each of several seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ag3d.config import NAME, NAME_RULE, Config, load
from ag3d.config.settings import merged, read_yaml
from ag3d.core.errors import UserError

FULL = "full"
SECTIONS = ("network", "training")  # what a variant may change: the data set and the measuring are the same for all


def read_variants(folder: Path) -> dict[str, dict[str, Any]]:
    """Variant to what it changes: `full`, which changes nothing, and a variant for each YAML file. Raises UserError."""
    if not folder.is_dir():
        raise UserError(f"configuration: 'ablations.folder': {folder} does not exist")
    variants: dict[str, dict[str, Any]] = {FULL: {}}
    for path in sorted(folder.glob("*.yaml")):
        if not re.fullmatch(NAME, path.stem):
            raise UserError(f"{str(path)!r}: a variant is called as its file; use {NAME_RULE}")
        variants[path.stem] = read_yaml(path)
        for name in variants[path.stem]:
            if name not in SECTIONS:
                raise UserError(f"{path}: '{name}' cannot be varied; a variant may change {' and '.join(SECTIONS)}")
    return variants


def variant(configuration: Mapping[str, Any], changes: Mapping[str, Any], seed: int) -> Config:
    """The whole configuration of a variant. Raises UserError naming the key."""
    return load(merged(merged(configuration, changes), {"training": {"seed": seed}}))
