"""CUDA graphs: a function's launches are captured once for each kind of input, and then replayed as one.

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

MAX_GRAPHS = 4  # of one function with the same options


class GraphPool:
    """Working memory that several graphs share, as none of them runs between another's forward and backward pass.

    A graph keeps its memory for as long as it lives; without sharing, that of a training step was three times what
    its parts need one after the other.
    """

    def __init__(self) -> None:
        self.capturing = False  # one of the pool's functions runs to be captured: those within it are part of it

    @functools.cached_property
    def handle(self) -> Any:
        return torch.cuda.graph_pool_handle()

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        self.capturing = True
        try:
            yield
        finally:
            self.capturing = False


class GraphedCallable:
    """`function` of tensors to a tensor, or a tuple or dictionary of them; its sizes and course depend on the inputs' shapes and on
    options, given by name, alone.

    Just called until it is enabled, and where the inputs are not on a GPU; else captured and replayed. With gradients the
    result is overwritten by the next call (of any function with the same pool): use it before. `modules`: those whose
    parameters the function reads and that may want gradients (others count as constants there). `nested`: others run
    between its forward and its backward pass, so that its memory is its own.
    """

    def __init__(self, function: Callable[..., Any], *modules: nn.Module, nested: bool = False) -> None:
        self.function, self.modules, self.nested = function, modules, nested
        self.pool: GraphPool | None = None
        self.graphs: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphedCallable:
        return GraphedCallable(
            copy.deepcopy(self.function, memo), *copy.deepcopy(self.modules, memo), nested=self.nested
        )

    def enable(self, pool: GraphPool) -> None:
        """Capture from now on, and anew: parameters stay where they are, and want gradients or not as they do now."""
        self.pool = pool
        self.graphs.clear()

    def __call__(self, *inputs: torch.Tensor, **options: Any) -> Any:
        pool = self.pool
        if pool is None or pool.capturing or not inputs[0].is_cuda or torch.cuda.is_current_stream_capturing():
            return self.function(*inputs, **options)
        learning = torch.is_grad_enabled() and (
            any(i.requires_grad for i in inputs) or any(p.requires_grad for p in self._parameters_read())
        )
        given = tuple(options.items())
        kind = (given, learning, *((i.shape, i.dtype, i.stride(), learning and i.requires_grad) for i in inputs))
        if kind not in self.graphs:
            if sum(known[0] == given for known in self.graphs) >= MAX_GRAPHS:
                return self.function(*inputs, **options)
            handle = None if self.nested and learning else pool.handle
            with pool.capture():
                function = functools.partial(self.function, **options)
                capture = self._graph_with_gradients if learning else _Replay
                self.graphs[kind] = capture(function, inputs, handle)
            torch.cuda.empty_cache()  # what was run for warming up lies on a stream of its own, which nothing uses again
        return self.graphs[kind](*inputs)

    def _parameters_read(self) -> list[nn.Parameter]:
        return [parameter for module in self.modules for parameter in module.parameters()]

    def _graph_with_gradients(
        self, function: Callable[..., Any], inputs: tuple[torch.Tensor, ...], handle: Any
    ) -> Callable[..., Any]:
        samples = tuple(i.detach().clone().requires_grad_(i.requires_grad) for i in inputs)
        module = _Module(function, [p for p in self._parameters_read() if p.requires_grad])
        # It is captured on another stream than that of the training: PyTorch lets one wait for the other, and newer ones warn.
        warn = getattr(torch.autograd.graph, "set_warn_on_accumulate_grad_stream_mismatch", lambda _: None)
        warn(False)
        graphed = torch.cuda.make_graphed_callables(module, samples, allow_unused_input=True, pool=handle)
        torch.cuda.synchronize()
        return graphed


class _Module(nn.Module):
    """A function with the parameters that its graph is to find gradients of."""

    def __init__(self, function: Callable[..., Any], parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self.function = function
        for number, parameter in enumerate(parameters):
            self.register_parameter(f"p{number}", parameter)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


class _Replay:
    """A graph without gradients. Results are copies."""

    def __init__(self, function: Callable[..., Any], inputs: tuple[torch.Tensor, ...], handle: Any) -> None:
        with torch.inference_mode(False):
            self._capture(function, tuple(i.detach().clone() for i in inputs), handle)

    def _capture(self, function: Callable[..., Any], inputs: tuple[torch.Tensor, ...], handle: Any) -> None:
        self.inputs = inputs
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(side):
            for _ in range(2):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(self.graph, pool=handle):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        for kept, new in zip(self.inputs, inputs):
            kept.copy_(new)
        self.graph.replay()
        if isinstance(self.outputs, torch.Tensor):
            return self.outputs.clone()
        if isinstance(self.outputs, dict):
            return {name: output.clone() for name, output in self.outputs.items()}
        return tuple(output.clone() for output in self.outputs)
