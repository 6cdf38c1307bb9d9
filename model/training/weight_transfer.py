"""Weights of one training in another: what fits by name and shape is taken over, the rest is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ag3d.core.errors import UserError
from ag3d.core.files import sha256
from ag3d.model.checkpoint import EMA, read_weights
from ag3d.model.training.training_state import NETWORKS, VALUES, read_header, read_state, tensors_of

log = logging.getLogger(__name__)
NAMED = 6  # tensors of which a line names


@dataclass
class Transfer:
    """`tensors` have the names and shapes of the new network."""

    tensors: dict[str, torch.Tensor]
    new: list[str]  # what the old network does not have
    shapes: list[str]  # what has another shape, with both shapes
    unused: list[str]  # what the new network does not have

    def tell(self, network: str, source: str) -> None:
        """A line on what was taken over, and one for each reason why something was not."""
        log.info("%s: %d tensors taken over from %s", network, len(self.tensors), source)
        for names, reason in (
            (self.shapes, "start anew, for their shape is another"),
            (self.new, "start anew, for they were not there"),
            (self.unused, "are left behind, for they are not here"),
        ):
            if names:
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                log.warning("%s: these %s: %s%s", network, reason, ", ".join(names[:NAMED]), more)


def transferable(old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor]) -> Transfer:
    """What of the tensors `old` fits into those of `new`."""
    shared = [name for name in new if name in old]
    fitting = [name for name in shared if old[name].shape == new[name].shape]
    differing = [name for name in shared if old[name].shape != new[name].shape]
    return Transfer(
        {name: old[name].float() if old[name].is_floating_point() else old[name] for name in fitting},
        whole_modules(new.keys() - old.keys(), new.keys() & old.keys()),
        [f"{name} ({_shape(new[name])} here, {_shape(old[name])} there)" for name in sorted(differing)],
        whole_modules(old.keys() - new.keys(), new.keys() & old.keys()),
    )


@torch.no_grad()
def transfer(old: Mapping[str, torch.Tensor], network: nn.Module, name: str, source: str) -> None:
    """Take over what fits, and tell what does not. `name` of the network and `source` of the tensors are for the log."""
    own = network.state_dict()
    fitting = transferable(old, own)
    fitting.tell(name, source)
    network.load_state_dict(own | fitting.tensors)


def whole_modules(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names, each cut to the first module that holds none of the `others`."""
    prefixes = {other[:end] for other in others for end in _ends(other)}
    return sorted({next((name[:end] for end in _ends(name) if name[:end] not in prefixes), name) for name in names})


def _ends(name: str) -> list[int]:
    """Where the names of the modules around `name` end, and its own."""
    return [index for index, letter in enumerate(name) if letter == "."] + [len(name)]


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"


# Fine-tuning: the folder of `training.resume_from`.


def start_tensors(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The networks in a milestone, an imported checkpoint or a saved state, by name. Raises UserError."""
    if (folder / EMA).exists():
        paths = {name: folder / f"{name}.safetensors" for name in NETWORKS}
        networks = {name: read_weights(path) for name, path in paths.items() if path.exists()}
    elif (folder / VALUES).exists():
        try:
            tensors = read_state(folder).tensors
        except ValueError as error:
            raise UserError(f"training.resume_from: {error}; use another saved state") from error
        networks = {name: tensors_of(tensors, name) for name in NETWORKS}
    else:
        raise UserError(
            f"training.resume_from: {folder} is neither a checkpoint's folder ({EMA}) nor a saved state's ({VALUES})"
        )
    networks.setdefault("generator", networks["generator_ema"])
    return networks


def start_from(folder: Path, networks: Mapping[str, nn.Module]) -> None:
    """Take over the weights of any other training where names and shapes agree, and tell where not."""
    old = start_tensors(folder)
    for name, network in networks.items():
        if name in old:
            transfer(old[name], network, name, str(folder))
        else:
            log.warning("%s holds no %s: it starts anew", folder, name)


def weights_hash(folder: Path) -> str:
    """What names the weights in the folder of `training.resume_from`. Raises UserError."""
    if (folder / EMA).exists():
        return sha256(folder / EMA)
    try:
        return read_header(folder)["sha256"]
    except ValueError as error:
        raise UserError(
            f"training.resume_from: {folder} is neither a checkpoint nor a saved state ({error})"
        ) from error
