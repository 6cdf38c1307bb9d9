"""Networks in ONNX files, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(
    path: Path,
    nodes: list[Any],
    shape: list[Any],
    constants: dict[str, np.ndarray] | None = None,
    outputs: tuple[str, ...] = ("out",),
    inputs: tuple[str, ...] = ("picture",),
    kind: int = TensorProto.FLOAT,
) -> Path:
    """Write a network with inputs of `shape` (text: open) to `path`."""
    stored = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    places = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    ends = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    graph = helper.make_graph(nodes, "network", places, ends, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def brightness(path: Path, shape: list[Any], axis: int) -> Path:
    """Mean over the channels, which are dimension `axis`."""
    return save(path, [helper.make_node("ReduceMean", ["picture"], ["out"], axes=[axis])], shape)


def colours(path: Path, shape: list[Any], weights: list[list[float]]) -> Path:
    """Each pixel's channels times `weights` [out][in], for layout nchw."""
    kernel = np.array(weights, np.float32)[..., None, None]
    return save(path, [helper.make_node("Conv", ["picture", "kernel"], ["out"])], shape, {"kernel": kernel})
