"""Parts of the networks that keep their weights, for fine-tuning."""

from __future__ import annotations

from torch import nn

from ag3d.config.training import FREEZABLE
from ag3d.core.errors import UserError
from ag3d.model.generator import Generator
from ag3d.model.networks.discriminator import Discriminator, Discriminators

LAYERS = ("fromrgb", "conv0", "conv1", "skip")  # of a block, in the order in which they are counted


def frozen(names: list[str], generator: Generator, discriminators: Discriminators) -> list[nn.Parameter]:
    """The parameters of the parts `names`, as under `training.freeze`. Raises UserError if nothing is left to train."""
    found: list[nn.Parameter] = []
    for name in names:
        part, _, number = name.partition(":")
        if part == "discriminator":
            heads = [head for head in discriminators.children() if isinstance(head, Discriminator)]
            found += [parameter for head in heads for parameter in first_layers(head, int(number))]
        else:
            prefix = FREEZABLE[part]
            found += [p for key, p in generator.named_parameters() if key.startswith(prefix)]
    kept = {id(parameter) for parameter in found}
    if all(id(parameter) in kept for parameter in generator.parameters()):
        raise UserError("training.freeze: nothing of the generator is left to train; take a name out")
    return found


def first_layers(head: Discriminator, number: int) -> list[nn.Parameter]:
    """Parameters of the first `number` convolutions from the image on (Freeze-D); the last block always trains."""
    blocks = [getattr(head, f"b{side}") for side in head.sides]
    layers = [getattr(block, name) for block in blocks for name in LAYERS if hasattr(block, name)]
    return [parameter for layer in layers[:number] for parameter in layer.parameters()]
