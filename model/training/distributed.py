"""One process or several: a global batch is cut into chunks, and every chunk is the same whoever works on it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ag3d.core.launch import end_with_launcher


@dataclass(frozen=True)
class Processes:
    """This process's `rank` among `world`, as torchrun tells; (0, 1) when started alone."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"

    @staticmethod
    def start(device: str) -> Processes:
        """Join the group that torchrun describes in the environment, if any."""
        world = int(os.environ.get("WORLD_SIZE", 1))
        if world == 1:
            return Processes(device=device)
        end_with_launcher()
        if not dist.is_initialized():
            cuda = device.startswith("cuda")
            dist.init_process_group("nccl" if cuda else "gloo", device_id=torch.device(device) if cuda else None)
        return Processes(dist.get_rank(), world, device)

    def share(self, batch: int) -> range:
        """This process's places in the global batch."""
        size, more = divmod(batch, self.world)
        start = self.rank * size + min(self.rank, more)
        return range(start, start + size + (self.rank < more))

    def chunks(self, batch: int, micro_batch: int = 0) -> list[range]:
        """This process's chunks: ranges of places in the global batch. They are contiguous over the processes."""
        share = self.share(batch)
        size = micro_batch or max(1, len(share))
        return [range(start, min(start + size, share.stop)) for start in range(share.start, share.stop, size)]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all processes, and make them finite: NaN 0, infinities ±1e5."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        if (
            self.world == 1
            and not gradients[0].is_cuda
            and torch.stack(torch._foreach_norm(gradients)).isfinite().all()
        ):
            return  # a look is cheaper than a copy; a GPU would have to be waited for
        # As one tensor: hundreds of small launches would take longer than the work.
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        if self.world > 1:
            dist.all_reduce(flat)
        torch.nan_to_num(flat, nan=0.0, posinf=1e5, neginf=-1e5, out=flat)
        parts = flat.split([gradient.numel() for gradient in gradients])
        torch._foreach_copy_(gradients, [part.view_as(gradient) for part, gradient in zip(parts, gradients)])

    def sum_numbers(self, numbers: list[float]) -> list[float]:
        if self.world == 1:
            return numbers
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def agree(self, number: int) -> int:
        """The largest of all processes' numbers, so that they stop or save together."""
        if self.world == 1:
            return number
        shared = torch.tensor(number, device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return int(shared)

    def same(self, number: int) -> bool:
        """Whether all processes have the same number."""
        return self.agree(number) == -self.agree(-number)

    def leave(self) -> None:
        """End the group, once all processes have come here."""
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()
