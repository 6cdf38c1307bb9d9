"""The configuration: a YAML file checked against the dataclasses in this package.

`python -m ag3d.config` prints the JSON schema that is kept in workflow/schemas/config.schema.yaml.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ag3d.config.cross_checks import check, complete
from ag3d.config.data import Alignment, BodyModel, Dataset, Fitting, Matting, Normals, People, Photos, Synthetic
from ag3d.config.network import Network
from ag3d.config.renamed import renew
from ag3d.config.results import Ablations, Avatars, Evaluation, Export
from ag3d.config.settings import from_mapping, merged, option, read_yaml, schema, to_mapping
from ag3d.config.stages import Stage, resolve
from ag3d.config.training import Machine, Training

NAME = r"\w[\w.-]{0,99}"  # of a folder of results
NAME_RULE = "letters, digits, '-', '_' and '.' only, a letter or digit first"


@dataclass
class Config:
    """One experiment: a data set, a network trained on it, and what is made and measured."""

    run: str = option("demo", "name of the run; its results are in results/<run>; " + NAME_RULE, pattern=NAME)
    dataset_name: str = option(
        "demo-data",
        "name of the data set; its results are in results/<dataset_name>; runs may share it; " + NAME_RULE,
        pattern=NAME,
    )
    photos: Photos = option(Photos, "")
    synthetic: Synthetic = option(Synthetic, "")
    body: BodyModel = option(BodyModel, "")
    people: People = option(People, "")
    matting: Matting = option(Matting, "")
    fitting: Fitting = option(Fitting, "")
    alignment: Alignment = option(Alignment, "")
    normals: Normals = option(Normals, "")
    dataset: Dataset = option(Dataset, "")
    network: Network = option(Network, "")
    training: Training = option(Training, "")
    machine: Machine = option(Machine, "")
    avatars: Avatars = option(Avatars, "")
    export: Export = option(Export, "")
    evaluation: Evaluation = option(Evaluation, "")
    ablations: Ablations = option(Ablations, "")


def load(mapping: Mapping[str, Any]) -> Config:
    """Check a configuration and fill in its defaults. Keys under their old names are taken over, with a warning.

    Raises UserError naming the key.
    """
    config = from_mapping(Config, renew(mapping))
    check(config)
    return config


def read(files: Iterable[Path]) -> Config:
    """The settings that a command is given in files, each a whole configuration or a part of one; later ones win.

    Every value is checked, but not what sections must agree on: a part does not say it. Raises UserError.
    """
    given: dict[str, Any] = {}
    for file in files:
        given = merged(given, renew(read_yaml(file)))
    config = from_mapping(Config, given)
    complete(config)
    return config


__all__ = [
    "Ablations",
    "Alignment",
    "Avatars",
    "BodyModel",
    "Config",
    "Dataset",
    "Evaluation",
    "Export",
    "Fitting",
    "Machine",
    "Matting",
    "Network",
    "Normals",
    "People",
    "Photos",
    "Stage",
    "Synthetic",
    "Training",
    "load",
    "read",
    "resolve",
    "schema",
    "to_mapping",
]
