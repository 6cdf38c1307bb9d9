"""The discriminators' passes in training: called, or on a GPU captured as CUDA graphs and replayed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ag3d.config import Training
from ag3d.model.cuda_graphs import GraphedCallable, GraphPool
from ag3d.model.networks.discriminator import Discriminators
from ag3d.model.training import losses
from ag3d.model.training.discriminator_inputs import DiscriminatorBatch, Images


class DiscriminatorGraphs:
    """`on`: capture and replay. A graph's gradients are overwritten by its next replay: one chunk a step."""

    def __init__(self, discriminators: Discriminators, settings: Training, on: bool = False) -> None:
        self.D, self.on = discriminators, on
        self.pool = GraphPool()  # the discriminators' passes end before anything else begins
        self.apart = settings.loss_reduction == "apart"
        self.weights = losses.head_weights(settings.normal_weight, settings.face_weight, settings.face_normal_weight)
        self.r1_weight = settings.r1_gamma / 2 * settings.d_reg_interval / settings.batch_size
        self._graphed: dict[Any, GraphedCallable] = {}
        self._r1_parameters: list[nn.Parameter] = []  # those that the captured penalty depends on

    def logits(self, batch: DiscriminatorBatch, batches: int = 1) -> dict[str, torch.Tensor]:
        """The heads' logits [b,1]; `batches`: so many batches lie one after the other."""
        kind = (batches, *batch.images)
        if kind not in self._graphed:

            def forward(label: torch.Tensor, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return tuple(self.D(dict(zip(kind[1:], images)), label, batches).values())

            self._keep(kind, GraphedCallable(forward, self.D))
        return dict(zip(self.D.heads, self._graphed[kind](batch.label, *batch.images.values())))

    def r1(self, real: Images, label: torch.Tensor) -> torch.Tensor:
        """The R1 penalty [b], differentiable."""
        real = {name: value.detach().requires_grad_(True) for name, value in real.items()}
        logits = self.D(real, label, double_backward=True)
        if self.apart:
            return losses.r1_penalty(losses.total_logit(logits), real, self.weights)
        return losses.r1_penalty(losses.total_logit(logits, self.weights), real)

    def r1_backward(self, real: DiscriminatorBatch) -> torch.Tensor:
        """The R1 penalty [b]; gradients of its weighted share in the batch's mean are added (replayed: set)."""
        if self.on:
            return self._graphed_r1_backward(real)
        penalty = self.r1(real.images, real.label)
        (penalty.sum() * self.r1_weight).backward()
        return penalty

    def _graphed_r1_backward(self, real: DiscriminatorBatch) -> torch.Tensor:
        """Twice differentiated, it is the most launches of all."""
        if "r1" not in self._graphed:
            names = tuple(real.images)
            parameters = [parameter for parameter in self.D.parameters() if parameter.requires_grad]
            penalty = self.r1(real.images, real.label).sum()
            reached = torch.autograd.grad(penalty, parameters, allow_unused=True)
            parameters = [p for p, gradient in zip(parameters, reached) if gradient is not None]
            del penalty, reached
            torch.cuda.empty_cache()  # graphs have memory of their own

            def gradients(label: torch.Tensor, *images: torch.Tensor) -> tuple[torch.Tensor, ...]:
                with torch.enable_grad():
                    penalty = self.r1(dict(zip(names, images)), label)
                    by_parameter = torch.autograd.grad(penalty.sum() * self.r1_weight, parameters)
                # In the parameters' own layout, as the optimiser wants it.
                return penalty.detach(), *(torch.empty_like(p).copy_(g) for p, g in zip(parameters, by_parameter))

            self._r1_parameters = parameters
            self._keep("r1", GraphedCallable(gradients))
        with torch.no_grad():
            penalty, *by_parameter = self._graphed["r1"](real.label, *real.images.values())
        for parameter, gradient in zip(self._r1_parameters, by_parameter, strict=True):
            parameter.grad = gradient
        return penalty

    def _keep(self, kind: Any, graphed: GraphedCallable) -> None:
        if self.on:
            graphed.enable(self.pool)
        self._graphed[kind] = graphed
