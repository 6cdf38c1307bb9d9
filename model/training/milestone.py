"""A milestone: a folder with the networks, for use, and the whole state, to go on from.

| file | content |
| --- | --- |
| generator_ema.safetensors | averaged generator: what makes the pictures |
| generator.safetensors, discriminator.safetensors | the networks in training |
| checkpoint.json | network and training settings, kimg, body, what made it |
| state.safetensors, state.json | the whole state; training goes on from it if the folder `train` is lost |
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ag3d.core.errors import UserError
from ag3d.core.files import atomic, read_json, sha256, write_json
from ag3d.model.checkpoint import DESCRIPTION, EMA, read_weights
from ag3d.model.training import snapshot
from ag3d.model.training.snapshot import Snapshot, disk_errors
from ag3d.model.training.trainer import Trainer, part_of
from ag3d.model.training.weight_transfer import carry

log = logging.getLogger(__name__)
NETWORKS = ("generator_ema", "generator", "discriminator")


def write(folder: Path, state: Snapshot, description: dict[str, Any]) -> None:
    """Write every file atomically, checkpoint.json last."""
    state.write(folder)
    hashes = {}
    for name in NETWORKS:
        path = folder / f"{name}.safetensors"
        with disk_errors(path), atomic(path) as beside:
            save_file({key: value.contiguous() for key, value in part_of(state.tensors, name).items()}, beside)
        hashes[path.name] = sha256(path)
    write_json(folder / DESCRIPTION, description | {"files": hashes})


def holds(folder: Path, key: str) -> bool:
    """Whether the folder is a whole milestone of the science `key`."""
    return (folder / DESCRIPTION).exists() and read_json(folder / DESCRIPTION).get("key") == key


def states(folder: Path) -> list[Path]:
    """The milestones in `folder` (results/<run>/ckpt) that training can go on from."""
    return sorted(path.parent for path in folder.glob(f"*/{snapshot.VALUES}"))


def start_tensors(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The networks in a milestone, an imported checkpoint or a saved state, by name. Raises UserError."""
    if (folder / EMA).exists():
        paths = {name: folder / f"{name}.safetensors" for name in NETWORKS}
        found = {name: read_weights(path) for name, path in paths.items() if path.exists()}
    elif (folder / snapshot.VALUES).exists():
        try:
            tensors = snapshot.read(folder).tensors
        except ValueError as error:
            raise UserError(f"training.resume_from: {error}; use another saved state") from error
        found = {name: part_of(tensors, name) for name in NETWORKS}
    else:
        raise UserError(
            f"training.resume_from: {folder} is neither a checkpoint's folder ({EMA}) nor a saved state's ({snapshot.VALUES})"
        )
    found.setdefault("generator", found["generator_ema"])
    return found


@torch.no_grad()
def start_from(folder: Path, trainer: Trainer) -> None:
    """Fine-tuning: take over the weights of any other training where names and shapes agree, and tell where not."""
    found = start_tensors(folder)
    for name, network in trainer.networks().items():
        if name not in found:
            log.warning("%s holds no %s: it starts anew", folder, name)
            continue
        own = network.state_dict()
        carried = carry(found[name], own)
        carried.tell(name, str(folder))
        network.load_state_dict(own | carried.tensors)


def start_hash(folder: Path) -> str:
    """What names the weights in the folder of `training.resume_from`. Raises UserError."""
    if (folder / EMA).exists():
        return sha256(folder / EMA)
    try:
        return snapshot.read_header(folder)["sha256"]
    except ValueError as error:
        raise UserError(
            f"training.resume_from: {folder} is neither a checkpoint nor a saved state ({error})"
        ) from error
