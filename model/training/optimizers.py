"""The networks' optimisers; their state as named tensors and back, so that it is stored without pickles."""

from __future__ import annotations

import torch
from torch import nn

from ag3d.model.training.schedule import Adam


def adam(network: nn.Module, values: Adam, rates: dict[str, float] | None = None) -> torch.optim.Adam:
    """Adam over all parameters; `rates` multiplies the learning rate of those it names."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((rates or {}).get(name, 1.0), []).append(parameter)
    parts = [{"params": parameters, "lr": values.lr * rate} for rate, parameters in groups.items()]
    return torch.optim.Adam(parts, lr=values.lr, betas=values.betas, eps=values.eps, fused=True)


def tensors(optimizer: torch.optim.Optimizer, network: nn.Module) -> dict[str, torch.Tensor]:
    """`<parameter>|<quantity>` to tensor, for the optimiser of all parameters of `network`."""
    found = {}
    for name, parameter in network.named_parameters():
        for quantity, value in optimizer.state.get(parameter, {}).items():
            found[f"{name}|{quantity}"] = torch.as_tensor(value)
    return found


def restore(optimizer: torch.optim.Optimizer, network: nn.Module, found: dict[str, torch.Tensor]) -> None:
    """Put the tensors back. Raises KeyError for a parameter that the network does not have."""
    parameters = dict(network.named_parameters())
    optimizer.state.clear()
    for key, value in found.items():
        name, quantity = key.rsplit("|", 1)
        parameter = parameters[name]
        if quantity == "step":
            own = value.clone().to(parameter.device)  # as a fused optimiser wants it
        else:
            own = torch.empty_like(parameter, requires_grad=False).copy_(value)  # in the parameter's memory format
        optimizer.state[parameter][quantity] = own


def carry(optimizer: torch.optim.Optimizer, network: nn.Module, found: dict[str, torch.Tensor]) -> None:
    """Put back the state of those parameters whose shape is the same; the others start anew."""
    own = {name: parameter.shape for name, parameter in network.named_parameters()}
    names = {key.rsplit("|", 1)[0] for key in found}
    fitting = {name for name in names if own.get(name) == found.get(f"{name}|exp_avg_sq", torch.empty(0)).shape}
    restore(optimizer, network, {key: value for key, value in found.items() if key.rsplit("|", 1)[0] in fitting})
