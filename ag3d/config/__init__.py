"""The configuration: a YAML file checked against the dataclasses in this package.

`python -m ag3d.config` prints the JSON schema that is kept in workflow/schemas/config.schema.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ag3d.config.data import Alignment, BodyModel, Dataset, Fitting, Matting, Normals, People, Photos
from ag3d.config.network import Network
from ag3d.config.results import Ablations, Avatars, Evaluation, Export
from ag3d.config.settings import from_mapping, option, schema, to_mapping
from ag3d.config.stages import Stage, resolve
from ag3d.config.training import Machine, Training
from ag3d.core.errors import UserError


@dataclass
class Config:
    """One experiment: a data set, a network trained on it, and what is made and measured."""

    run: str = option("demo", "name of the run; its results are in results/<run>")
    dataset_name: str = option(
        "demo-data", "name of the data set; its results are in results/<dataset_name>; runs may share it"
    )
    photos: Photos = option(Photos, "")
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
    """Check a configuration and fill in its defaults. Raises UserError naming the key."""
    config = from_mapping(Config, mapping)
    for key in ("run", "dataset_name"):
        name = getattr(config, key)
        if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
            raise UserError(f"configuration: '{key}' is {name!r}; use letters, digits, '-', '_' and '.' only")
    if config.run == config.dataset_name:
        raise UserError(
            f"configuration: 'run' and 'dataset_name' are both {config.run!r}; they name two folders of results and must differ"
        )
    if config.photos.source != "synthetic" and not config.photos.path:
        wanted = {"folder": "the folder that holds your photographs", "zip": "AG3D's zip, or a folder of such zips"}
        raise UserError(f"configuration: 'photos.path' is missing; give {wanted[config.photos.source]}")
    resolve(config.training, config.network)  # stages whose networks cannot be are told now, not after days
    config.photos.path = os.path.expanduser(config.photos.path)
    config.fitting.imports.path = os.path.expanduser(config.fitting.imports.path)
    config.photos.list = os.path.expanduser(config.photos.list)
    config.body.file = os.path.expanduser(config.body.file)
    config.evaluation.inception = os.path.expanduser(config.evaluation.inception)
    for part in (config.matting.onnx, config.normals.onnx):
        part.file = os.path.expanduser(part.file)
    for place in (config.matting, config.normals):
        place.folder = os.path.expanduser(place.folder)
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
    "Training",
    "load",
    "schema",
    "to_mapping",
]
