"""Tensors of one network in another: what fits by name and shape is taken over, the rest is told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

log = logging.getLogger(__name__)
NAMED = 6


@dataclass
class Carried:
    """`tensors` have the names and shapes of the new network."""

    tensors: dict[str, torch.Tensor]
    new: list[str]  # what the old network does not have
    shapes: list[str]  # what has another shape, with both shapes
    unused: list[str]  # what the new network does not have

    def tell(self, what: str, source: str) -> None:
        """A line on what was taken over, and one for each reason why something was not."""
        log.info("%s: %d tensors taken over from %s", what, len(self.tensors), source)
        for names, reason in (
            (self.shapes, "start anew, for their shape is another"),
            (self.new, "start anew, for they were not there"),
            (self.unused, "are left behind, for they are not here"),
        ):
            if names:
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                log.warning("%s: these %s: %s%s", what, reason, ", ".join(names[:NAMED]), more)


def carry(found: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> Carried:
    """What of `found` fits into `own`."""
    shared = [name for name in own if name in found]
    fitting = [name for name in shared if found[name].shape == own[name].shape]
    differing = [name for name in shared if found[name].shape != own[name].shape]
    return Carried(
        {name: found[name].float() if found[name].is_floating_point() else found[name] for name in fitting},
        whole_modules(own.keys() - found.keys(), own.keys() & found.keys()),
        [f"{name} ({_shape(own[name])} here, {_shape(found[name])} there)" for name in sorted(differing)],
        whole_modules(found.keys() - own.keys(), own.keys() & found.keys()),
    )


def whole_modules(names: Iterable[str], others: Iterable[str]) -> list[str]:
    """The names, each cut to the first module that holds none of the `others`."""
    taken = {other[:end] for other in others for end in _ends(other)}
    return sorted({next((name[:end] for end in _ends(name) if name[:end] not in taken), name) for name in names})


def _ends(name: str) -> list[int]:
    """Where the names of the modules around `name` end, and its own."""
    return [place for place, letter in enumerate(name) if letter == "."] + [len(name)]


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
