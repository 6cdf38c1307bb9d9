"""What a training consists of: networks, optimisers, moving average and counters; a step, and the whole state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ag3d.config import Network, Training
from ag3d.model import malloc
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.networks.discriminator import Discriminators
from ag3d.model.precision import set_precision
from ag3d.model.training import optim, phases, stages
from ag3d.model.training.augment import AdaptiveAugment
from ag3d.model.training.data import Batch
from ag3d.model.training.discriminator_graphs import DiscriminatorGraphs
from ag3d.model.training.discriminator_inputs import DiscriminatorInputs
from ag3d.model.training.distributed import Processes
from ag3d.model.training.monitoring import Averages
from ag3d.model.training.training_state import tensors_of
from ag3d.model.training.weight_transfer import transfer


@dataclass(frozen=True)
class TrainerOptions:
    """Where and how a trainer computes; what it learns differs by rounding alone."""

    device: torch.device = torch.device("cpu")
    processes: Processes = Processes()
    micro_batch: int = 0  # images per forward pass; 0: the whole share of the process
    precision: str = "float32"  # of the convolutions, see model.precision
    cuda_graphs: bool = True  # on a GPU, record launches and replay them


class Trainer:
    """Networks, optimisers and counters. `labels` [N,111]: those that generated people get."""

    def __init__(
        self,
        settings: Training,
        network: Network,
        body: Body,
        labels: torch.Tensor,
        options: TrainerOptions = TrainerOptions(),
    ) -> None:
        self.settings, self.network = settings, network
        self.device, self.processes, self.micro_batch = options.device, options.processes, options.micro_batch
        self.labels = labels.to(self.device)
        if self.device.type == "cpu":
            malloc.keep_freed()
        torch.manual_seed(settings.seed)
        self.G = Generator(network, body).to(self.device)
        if network.compatibility != "reference":
            optim.damp_superresolution(self.G)
        self.D = Discriminators(network).to(self.device)
        set_precision(options.precision, self.G, self.D)
        self.G_ema = optim.copy_for_ema(self.G)
        self.frozen = optim.frozen_parameters(settings.freeze, self.G, self.D)
        both: tuple[nn.Module, ...] = (self.G, self.D)
        self._parameters = {module: list(module.parameters()) for module in both}  # finding them is slow
        multipliers = {"renderer.sigmoid_beta": settings.beta_lr_mult}
        self.adam_g = optim.adam(self.G, stages.adam_g(settings), multipliers)
        self.adam_d = optim.adam(self.D, stages.adam_d(settings))
        self.inputs = DiscriminatorInputs(network, body.to(self.device))
        self.augment = AdaptiveAugment(settings)
        self.averages = Averages()
        self.steps = 0
        one_chunk = len(self.processes.chunks(settings.batch_size, self.micro_batch)) == 1
        self.graphs = DiscriminatorGraphs(
            self.D, settings, on=options.cuda_graphs and one_chunk and self.device.type == "cuda"
        )
        if self.graphs.on:
            self.G.enable_cuda_graphs(self.graphs.pool)

    @property
    def images(self) -> int:
        """How many real images have been shown."""
        return self.steps * self.settings.batch_size

    def step(self, batch: Batch) -> None:
        """Train on this process's share of a batch: uint8 images and normals [b,3,R,R], labels [b,111]."""
        settings, step = self.settings, self.steps
        sigma = stages.blur_sigma(settings, self.images)
        image, normal, label = (part.to(self.device, non_blocking=True) for part in batch)
        batch = (image, normal, label)
        fakes = phases.generator_phase(self, sigma)
        if stages.regularizes(settings) and step % settings.density_reg_every == 0:
            phases.density_phase(self)
        phases.discriminator_phase(self, batch, sigma, fakes)
        if settings.r1_gamma > 0 and step % settings.d_reg_interval == 0:
            phases.r1_phase(self, batch, sigma)
        self.steps += 1
        self.augment.update_p(self.steps, self.processes)
        optim.update_ema(self.G_ema, self.G, stages.ema_beta(settings, self.images))

    def begin_phase(self, network: nn.Module) -> None:
        """Let `network` alone want gradients, and forget those of before."""
        for each, parameters in self._parameters.items():
            for parameter in parameters:
                parameter.requires_grad = each is network
        for parameter in self.frozen:
            parameter.requires_grad_(False)
        for optimizer in (self.adam_g, self.adam_d):  # the other network's gradients only take memory
            optimizer.zero_grad(set_to_none=True)

    def end_phase(self, network: nn.Module) -> None:
        """Sum the gradients of all processes and step the optimiser."""
        self.processes.sum_gradients(self._parameters[network])
        (self.adam_g if network is self.G else self.adam_d).step()

    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.G, "generator_ema": self.G_ema, "discriminator": self.D}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that the training depends on, by name; see `restore`."""
        parts = {name: network.state_dict() for name, network in self.networks().items()}
        parts["adam_g"] = optim.optimizer_tensors(self.adam_g, self.G)
        parts["adam_d"] = optim.optimizer_tensors(self.adam_d, self.D)
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def values(self) -> dict[str, Any]:
        """Everything else that it depends on, as plain values. All processes must take part."""
        self.averages.fold(self.processes)
        self.augment.fold(self.processes)
        return {"steps": self.steps, "averages": self.averages.sums(), "augment": self.augment.state()}

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Go on from what `tensors` and `values` gave."""
        for name, network in self.networks().items():
            network.load_state_dict(tensors_of(tensors, name))
        optim.restore_optimizer(self.adam_g, self.G, tensors_of(tensors, "adam_g"))
        optim.restore_optimizer(self.adam_d, self.D, tensors_of(tensors, "adam_d"))
        self._restore_values(values)

    def begin_stage(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Go on, as a new stage, from the training of another network: what fits is taken over, the rest is told."""
        for name, network in self.networks().items():
            transfer(tensors_of(tensors, name), network, name, "the stage before")
        optim.transfer_optimizer(self.adam_g, self.G, tensors_of(tensors, "adam_g"))
        optim.transfer_optimizer(self.adam_d, self.D, tensors_of(tensors, "adam_d"))
        self._restore_values(values)

    def _restore_values(self, values: dict[str, Any]) -> None:
        self.steps = values["steps"]
        first = self.processes.rank == 0
        self.averages.restore(values["averages"], first)
        self.augment.restore(values["augment"], first)
