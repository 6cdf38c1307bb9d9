"""CUDA graphs: a function's launches are recorded once for each kind of input, and then replayed as one.

A network of this kind is thousands of small launches, for which the processor needs longer than the GPU for the work.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

_recording = False  # whether a function runs for being recorded: those within it are part of it

MOST_KINDS = 4  # recordings of one function


class Memory:
    """Working memory that several recordings share, as none of them runs between another's forward and backward pass.

    A recording keeps its memory for as long as it lives; without sharing, that of a training step was three times what
    its parts need one after the other.
    """

    @functools.cached_property
    def pool(self) -> Any:
        return torch.cuda.graph_pool_handle()


class Recorded:
    """`function` of tensors to a tensor or a tuple of them; its sizes and course depend on the inputs' shapes alone.

    Where `on` is set and the inputs are on a GPU, it is recorded and replayed, else just called. With gradients the result
    is overwritten by the next call (of any function with the same `memory`): use it before. `modules`: those whose
    parameters the function reads and that may want gradients (others count as constants there). `nested`: others run
    between its forward and its backward pass, so that its memory is its own.
    """

    def __init__(self, function: Callable[..., Any], *modules: nn.Module, nested: bool = False) -> None:
        self.function, self.modules, self.nested = function, modules, nested
        self.on = False
        self.memory = Memory()  # of its own, unless it is given one to share
        self.recordings: dict[tuple, Callable[..., Any]] = {}

    def __deepcopy__(self, memo: dict) -> Recorded:
        return Recorded(copy.deepcopy(self.function, memo), *copy.deepcopy(self.modules, memo), nested=self.nested)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if not self.on or _recording or not inputs[0].is_cuda or torch.cuda.is_current_stream_capturing():
            return self.function(*inputs)
        learning = torch.is_grad_enabled() and (
            any(i.requires_grad for i in inputs) or any(p.requires_grad for p in self._parameters_read())
        )
        kind = (learning, *((i.shape, i.dtype, i.stride(), learning and i.requires_grad) for i in inputs))
        if kind not in self.recordings:
            if len(self.recordings) >= MOST_KINDS:
                return self.function(*inputs)
            pool = None if self.nested and learning else self.memory.pool
            with _alone():
                make = self._learning if learning else functools.partial(_Replay, self.function)
                self.recordings[kind] = make(inputs, pool)
            torch.cuda.empty_cache()  # what was run for warming up lies on a stream of its own, which nothing uses again
        return self.recordings[kind](*inputs)

    def forget(self) -> None:
        """Record anew: parameters were exchanged, or want gradients where they did not."""
        self.recordings.clear()

    def _parameters_read(self) -> list[nn.Parameter]:
        return [parameter for module in self.modules for parameter in module.parameters()]

    def _learning(self, inputs: tuple[torch.Tensor, ...], pool: Any) -> Callable[..., Any]:
        samples = tuple(i.detach().clone().requires_grad_(i.requires_grad) for i in inputs)
        wanted = [parameter for parameter in self._parameters_read() if parameter.requires_grad]
        part = _Part(self.function, wanted)
        # Recorded is on another stream than that of the training: PyTorch lets one wait for the other, and newer ones warn.
        warn = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", lambda _: None)
        warn(False)
        recorded = torch.cuda.make_graphed_callables(part, samples, allow_unused_input=True, pool=pool)
        torch.cuda.synchronize()
        return recorded


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    global _recording
    _recording = True
    try:
        yield
    finally:
        _recording = False


class _Part(nn.Module):
    """A function with the parameters that its recording is to find gradients of."""

    def __init__(self, function: Callable[..., Any], parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.function = function
        for number, parameter in enumerate(parameters):
            self.register_parameter(f"p{number}", parameter)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


class _Replay:
    """A recording without gradients. Results are copies."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[torch.Tensor, ...], pool: Any) -> None:
        with torch.inference_mode(False):
            self._record(function, tuple(i.detach().clone() for i in inputs), pool)

    def _record(self, function: Callable[..., Any], inputs: tuple[torch.Tensor, ...], pool: Any) -> None:
        self.inputs = inputs
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(side):
            for _ in range(2):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph, pool=pool):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        for kept, new in zip(self.inputs, inputs):
            kept.copy_(new)
        self.graph.replay()
        if isinstance(self.outputs, torch.Tensor):
            return self.outputs.clone()
        return tuple(output.clone() for output in self.outputs)
