"""The networks' optimisers, the generator's moving average, parts that keep their weights, and how a generator begins.

The optimisers' state goes as named tensors, so that it is stored without pickles.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from ag3d.config.training import FREEZABLE
from ag3d.core.errors import UserError
from ag3d.model.generator import Generator
from ag3d.model.networks.discriminator import Discriminator, Discriminators
from ag3d.model.training.stages import AdamSettings

Network = TypeVar("Network", bound=nn.Module)
LAYERS = ("fromrgb", "conv0", "conv1", "skip")  # of a discriminator's block, in the order in which they are counted
TORGB_GAIN = 0.1


def adam(network: nn.Module, values: AdamSettings, lr_multipliers: dict[str, float] | None = None) -> torch.optim.Adam:
    """Adam over all parameters; `lr_multipliers` multiplies the learning rate of those it names."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((lr_multipliers or {}).get(name, 1.0), []).append(parameter)
    parts = [{"params": parameters, "lr": values.lr * rate} for rate, parameters in groups.items()]
    return torch.optim.Adam(parts, lr=values.lr, betas=values.betas, eps=values.eps, fused=True)


def optimizer_tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, torch.Tensor]:
    """`<parameter>|<quantity>` to tensor, for the optimiser of all parameters of `network`."""
    return {
        f"{name}|{quantity}": torch.as_tensor(value)
        for name, parameter in network.named_parameters()
        for quantity, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Put `optimizer_tensors` back. Raises KeyError for a parameter that the network does not have."""
    parameters = dict(network.named_parameters())
    optimizer.state.clear()
    for key, value in tensors.items():
        name, quantity = key.rsplit("|", 1)
        parameter = parameters[name]
        if quantity == "step":
            own = value.clone().to(parameter.device)  # as a fused optimiser wants it
        else:
            own = torch.empty_like(parameter, requires_grad=False).copy_(value)  # in the parameter's memory format
        optimizer.state[parameter][quantity] = own


def transfer_optimizer(optimizer: torch.optim.Optimizer, network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Put back the state of those parameters whose shape is the same; the others start anew."""
    shapes = {name: parameter.shape for name, parameter in network.named_parameters()}

    def fits(key: str) -> bool:
        name = key.rsplit("|", 1)[0]
        return shapes.get(name) == tensors.get(f"{name}|exp_avg_sq", torch.empty(0)).shape

    restore_optimizer(optimizer, network, {key: value for key, value in tensors.items() if fits(key)})


def copy_for_ema(network: Network) -> Network:
    """A copy to hold the moving average."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, beta: float) -> None:
    """average ← network + beta · (average - network); buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - beta)
    for averaged, new in zip(average.buffers(), network.buffers(), strict=True):
        averaged.copy_(new)


def frozen_parameters(names: list[str], generator: Generator, discriminators: Discriminators) -> list[nn.Parameter]:
    """The parameters of the parts `names`, as under `training.freeze`. Raises UserError if nothing is left to train."""
    frozen: list[nn.Parameter] = []
    for name in names:
        part, _, number = name.partition(":")
        if part == "discriminator":
            heads = [head for head in discriminators.children() if isinstance(head, Discriminator)]
            frozen += [parameter for head in heads for parameter in first_layers(head, int(number))]
        else:
            frozen += [p for key, p in generator.named_parameters() if key.startswith(FREEZABLE[part])]
    frozen_ids = {id(parameter) for parameter in frozen}
    if all(id(parameter) in frozen_ids for parameter in generator.parameters()):
        raise UserError("training.freeze: nothing of the generator is left to train; take a name out")
    return frozen


def first_layers(head: Discriminator, number: int) -> list[nn.Parameter]:
    """Parameters of the first `number` convolutions from the image on (Freeze-D); the last block always trains."""
    blocks = [getattr(head, f"b{side}") for side in head.sides]
    layers = [getattr(block, name) for block in blocks for name in LAYERS if hasattr(block, name)]
    return [parameter for layer in layers[:number] for parameter in layer.parameters()]


@torch.no_grad()
def damp_superresolution(generator: Generator) -> None:
    """Let the super-resolution of a new generator begin by enlarging the rendering.

    At the usual random start its own colours hide the rendering and stain the white background, and the first
    hundreds of thousands of images are spent on unlearning them.
    """
    for block in (generator.superresolution.block0, generator.superresolution.block1):
        block.torgb.weight.mul_(TORGB_GAIN)
