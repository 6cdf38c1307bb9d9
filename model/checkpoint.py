"""Checkpoints of networks: weights as safetensors, everything else as JSON."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.overrides import TorchFunctionMode

from ag3d.config import Network, to_mapping
from ag3d.config.network import Departures
from ag3d.config.renamed import renew_section
from ag3d.config.settings import from_mapping
from ag3d.core.bounded import open_regular
from ag3d.core.errors import UserError
from ag3d.core.files import atomic, read_sealed, sha256
from ag3d.model.body.body import Body
from ag3d.model.generator import Generator
from ag3d.model.networks.backbone import Backbone
from ag3d.model.networks.decoder import Decoder
from ag3d.model.networks.superresolution import SuperResolution
from ag3d.model.precision import resolve_precision, set_precision
from ag3d.model.rendering.renderer import Renderer

Shapes = Mapping[str, tuple[int, ...]]
DESCRIPTION = "checkpoint.json"
EMA = "generator_ema.safetensors"


def save_weights(module: nn.Module, path: Path, half: bool = False) -> None:
    """Write a module's parameters and persistent buffers atomically, optionally in half precision."""
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    with atomic(path) as beside:
        save_file(state, beside)


def read_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, torch.Tensor]:
    """Raises UserError where the file is missing or damaged, or not the one that the checkpoint.json beside it names."""
    if not path.exists():
        raise UserError(f"{path} does not exist; is {path.parent} the folder of a checkpoint?")
    open_regular(path).close()
    known = _description(path.parent / DESCRIPTION).get("files", {}) if (path.parent / DESCRIPTION).exists() else {}
    if path.name in known and sha256(path) != known[path.name]:
        raise UserError(
            f"{path} is damaged: it is not the file that {DESCRIPTION} beside it names; use another checkpoint, or delete "
            "this one's folder and train to it again"
        )
    try:
        return load_file(path, device=str(device))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); use another checkpoint, or train again from the one before"
        ) from error


def load_weights(module: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Copy `state` into `module`; every name and shape must agree. Raises UserError naming the first that does not."""
    check_shapes(shapes_of(state), shapes_of(module.state_dict()), source)
    module.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    )


def shapes_of(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def check_shapes(shapes: Shapes, wanted: Shapes, source: str) -> None:
    """Raises UserError naming the first tensors that are missing, surplus or of another shape."""
    missing, surplus = sorted(wanted.keys() - shapes.keys()), sorted(shapes.keys() - wanted.keys())
    if missing or surplus:
        raise UserError(
            f"{source} is of another network: missing {missing[:3]}, not expected {surplus[:3]} (first three of each)"
        )
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise UserError(
                f"{source} is of another network: {name} is {list(shapes[name])}, expected {list(shape)}; "
                "compare the network settings"
            )


class _NoValues(TorchFunctionMode):
    """Tensors have their sizes, and no arithmetic makes first values: PyTorch would load its compiler for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn:
            return torch.empty(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("div", "__truediv__") or (name.endswith("_") and not name.endswith("__")):
            return args[0]
        return func(*args, **(kwargs or {}))


def generator_shapes(settings: Network) -> Shapes:
    """Of a generator's tensors; no memory is taken, and no body needed. Raises UserError where there is no such network."""
    try:
        with torch.device("meta"), _NoValues():
            parts = {
                "renderer": Renderer(settings),
                "backbone": Backbone(settings),
                "decoder": Decoder(settings.plane_channels, settings.decoder_hidden, settings.plane_channels),
                "superresolution": SuperResolution(settings, settings.image_resolution // 2),
            }
            return shapes_of(nn.ModuleDict(parts).state_dict())
    except (RuntimeError, OverflowError, ValueError, TypeError) as error:
        raise UserError(f"no network can be so large: {error}; compare the network settings") from error


def describe(settings: Network, body: Body | None, **more: Any) -> dict[str, Any]:
    """The content of checkpoint.json; `body` is None where it is not known."""
    named = {} if body is None else {"name": body.name, "sha256": body.sha256}
    return {"format": 1, "network": to_mapping(settings), "body": named, **more}


def read_description(folder: str | Path) -> dict[str, Any]:
    """checkpoint.json of a checkpoint's folder. Raises UserError."""
    file = Path(folder) / DESCRIPTION
    if not file.exists():
        raise UserError(f"{folder} is not a checkpoint: {DESCRIPTION} is missing")
    content = _description(file)
    if "network" not in content:
        raise UserError(f"{file} does not describe a network")
    return content


def _description(file: Path) -> dict[str, Any]:
    content = read_sealed(file)
    for name in ("network", "body", "files"):
        if not isinstance(content.get(name, {}), dict):
            raise UserError(f"{file} does not describe a network: '{name}' is no JSON object")
    return content


def settings_of(description: dict[str, Any]) -> Network:
    """The network that a checkpoint.json describes. A departure that it does not name was not there, and is off."""
    network = renew_section(description["network"], "network", warn=False)
    if isinstance(network.get("departures"), dict):
        absent = {field.name: False for field in fields(Departures)}
        network = network | {"departures": absent | network["departures"]}
    return from_mapping(Network, network, "network")


def load_generator(
    folder: str | Path, body: Body, device: torch.device | str = "cpu", weights: str = EMA, precision: str = "auto"
) -> Generator:
    """The averaged generator of a checkpoint, for inference. Raises UserError; warns of another body by UserWarning.

    `precision` is that of the convolutions (see model.precision); networks that compute what the reference computes take
    float32 for `auto`.
    """
    description = read_description(folder)
    settings = settings_of(description)
    trained_with = description.get("body", {}).get("sha256")
    if trained_with and trained_with != body.sha256:
        warnings.warn(
            f"{folder} was trained with the body '{description['body'].get('name')}', not with '{body.name}'; shapes may differ",
            stacklevel=2,
        )
    path = Path(folder) / weights
    state = read_weights(path)
    if settings.mapping_layers > len(state):
        raise UserError(f"{path} is of another network: mapping_layers is {settings.mapping_layers} in {DESCRIPTION}")
    check_shapes(shapes_of(state), generator_shapes(settings), str(path))
    generator = Generator(settings, body)
    load_weights(generator, state, str(path))
    generator = generator.to(device).eval().requires_grad_(False)
    if settings.compatibility != "reference" or precision != "auto":
        set_precision(resolve_precision(precision, torch.device(device), training=False), generator)
    return generator.enable_cuda_graphs()
