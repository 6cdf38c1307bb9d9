"""What each process of a group does; started by spawn, so that it must be importable by name."""

from __future__ import annotations

import torch
import torch.distributed as dist

from ag3d.model.training.distributed import Processes


def gather(rank, world, file, answers):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=world)
    processes = Processes(rank, world)
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1.0 + rank, float("inf") if rank else 0.0, -1.0])
    processes.sum_gradients([parameter, torch.nn.Parameter(torch.zeros(1))])
    answers[rank] = (
        parameter.grad.tolist(),
        processes.sum_numbers([1.0, float(rank)]),
        processes.agree(7 * rank),
        processes.same(5),
        processes.same(rank),
    )
    processes.leave()
