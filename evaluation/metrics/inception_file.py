"""The file of Inception's weights: where it comes from, and reading it as tensors.

Two layouts are read: the TorchScript file that AG3D's evaluation and clean-fid use, and the state dict of pytorch-fid and
torch-fidelity, in PyTorch's newer (zip) or older format. Of a TorchScript file only the tensors are looked at: its program
is neither run nor read.
"""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ag3d.core.bounded import open_regular, open_zip, read_bytes, read_entry
from ag3d.core.errors import UserError
from ag3d.core.files import sha256
from ag3d.evaluation.metrics.inception_network import conv_names, convolutions, layers
from ag3d.model.legacy.allowed_names import Parameter, Placeholder
from ag3d.model.legacy.allowed_names import Tensor as StoredTensor
from ag3d.model.legacy.torch_storage import MAGIC
from ag3d.model.safe_pickle.scanner import check_pickle
from ag3d.model.safe_pickle.unpickler import Inert, Refused, Values, common_names, refusing

FILE = "inception-2015-12-05.pt"
SOURCE = f"https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/{FILE}"
# SHA-256 of the files whose features are known to be FID's.
KNOWN = {
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4": FILE,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2": "pytorch-fid's pt_inception-2015-12-05-6726825d.pth",
}
WHAT, HINT = f"the network {FILE} of {SOURCE}", "Get that file"
LARGEST = 2**28  # bytes; the known files have 96 MB
EPSILON = 1e-3  # of the normalisation
_DTYPES = {
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
}
_MOST_MEMBERS = 20_000  # of the file's modules
_TENSORS = {"torch._utils._rebuild_tensor_v2": StoredTensor, "torch._utils._rebuild_parameter": Parameter}
# What a vector of a normalisation is, by a part of its name.
_PARTS = {
    "mean": "mean", "var": "variance", "beta": "offset", "bias": "offset", "gamma": "scale", "scale": "scale", "weight": "scale",
}  # fmt: skip


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path, or a UserError that says how to get the file."""
    if not str(path):
        raise UserError(
            f"'evaluation.inception' is missing: FID needs {FILE}; download it from {SOURCE} and give its path"
        )
    try:
        open_regular(path).close()
    except UserError as error:
        raise UserError(f"{error} ('evaluation.inception'); download {FILE} from {SOURCE} to there") from error
    return Path(path)


def read_network(path: str | os.PathLike[str]) -> tuple[nn.Sequential, str]:
    """The network (as `inception_network.layers`) with the file's weights, and the file's SHA-256. Raises UserError."""
    file = check_file(path)
    units, names, network = _units(read_tensors(file)), conv_names(), layers()
    with refusing(file, WHAT, HINT):
        whose = next((k for k in range(2) if all(name[k] in units for name in names)), None)
        if whose is None:
            raise ValueError("not all of Inception v3's layers are in it")
        for name, convolution in zip(names, convolutions(network), strict=True):
            kernel, bias = _folded(units[name[whose]])
            if kernel.shape != convolution.weight.shape or not (kernel.isfinite().all() and bias.isfinite().all()):
                raise ValueError(f"{name[whose]} has the shape {list(kernel.shape)}, or values that are no numbers")
            convolution.weight.data, convolution.bias.data = kernel, bias  # type: ignore[union-attr]
    return network.eval().requires_grad_(False), sha256(file)


def read_tensors(file: Path) -> dict[tuple[str, ...], np.ndarray]:
    """Every tensor in a file of these layouts by the names on the way to it, float32. Raises UserError."""
    with refusing(file, WHAT, HINT):
        with open_regular(file) as handle:
            zipped = handle.read(4).startswith(b"PK")
        content = _of_zip(file) if zipped else _of_stream(read_bytes(file, LARGEST))
        values = Values(2 * LARGEST)
        found: dict[tuple[str, ...], np.ndarray] = {}
        waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
        for _ in range(_MOST_MEMBERS):
            if not waiting:
                return found
            place, content = waiting.pop()
            members = content.state if isinstance(content, Placeholder) else content
            if isinstance(content, (StoredTensor, Parameter)):
                found[place] = values.array(content).astype(np.float32)
            elif isinstance(members, dict) and len(place) < 12:
                waiting += (((*place, *str(name).split(".")), member) for name, member in members.items())
        raise ValueError(f"it has more than {_MOST_MEMBERS} parts")


class _Storage(Inert):
    """The numbers behind a tensor: the persistent id ('storage', type, key, device, count, …) and where they are."""

    def value(self, values: Values) -> np.ndarray:
        (kind, dtype, key, _, count, *_), numbers = self.arguments
        data = numbers[str(key)]
        if kind != "storage" or not isinstance(dtype, np.dtype) or count * dtype.itemsize != len(data):
            raise ValueError(f"a tensor states {count!r:.20} numbers, its data has {len(data)} bytes")
        return np.frombuffer(data, dtype)


class _Reader(pickle.Unpickler):
    """Reads tensors in containers and inert objects. `numbers`: key to the bytes of a storage, which may be filled in later."""

    def __init__(self, data: bytes | memoryview, numbers: dict[str, Any]) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self.numbers = numbers
        self.dtypes: dict[str, Any] = {}  # by the key of a storage

    def find_class(self, module: str, name: str) -> Any:
        if module in ("torch", "torch.storage", "torch.cuda") and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        if module.partition(".")[0] == "__torch__" or module == "torch.jit._pickle":
            return Placeholder
        known = _TENSORS.get(f"{module}.{name}") or common_names(module, name)
        if known is None:
            raise Refused(f"{module}.{name}")
        return known

    def persistent_load(self, identity: Any) -> Any:
        self.dtypes[str(identity[2])] = identity[1]
        return _Storage(identity, self.numbers)


def _of_zip(file: Path) -> Any:
    """The content of a TorchScript file, or of PyTorch's newer format."""
    with open_zip(file) as archive:
        entries = archive.namelist()
        if len(set(entries)) < len(entries) or sum(entry.file_size for entry in archive.infolist()) > LARGEST:
            raise ValueError("its entries are too large, or one stands in it twice")
        name = next((entry for entry in entries if entry.split("/")[1:] == ["data.pkl"]), "data.pkl")
        folder = name.removesuffix(".pkl") + "/"
        numbers = {e.removeprefix(folder): read_entry(archive, e, str(file)) for e in entries if e.startswith(folder)}
        data = read_entry(archive, name, str(file))
    check_pickle(data, persistent=True)
    return _Reader(data, numbers).load()


def _of_stream(data: bytes) -> Any:
    """The content of PyTorch's older format: five pickles (magic number, version, machine, content, keys of the storages),
    then each storage's numbers behind how many they are."""
    numbers: dict[str, Any] = {}
    readers, parts = [], []
    position = 0
    for _ in range(5):
        end = check_pickle(data, position, persistent=True)
        readers.append(_Reader(data[position:end], numbers))
        parts.append(readers[-1].load())
        position = end
    magic, *_, content, keys = parts
    if magic != MAGIC:
        raise ValueError("it is not in PyTorch's format")
    for key in map(str, keys):
        size = int.from_bytes(data[position : position + 8], "little") * readers[3].dtypes[key].itemsize
        if position + 8 + size > len(data):
            raise EOFError("it ends in the middle")
        numbers[key] = memoryview(data)[position + 8 : position + 8 + size]
        position += 8 + size
    return content


def _units(tensors: dict[tuple[str, ...], np.ndarray]) -> dict[str, dict[str, torch.Tensor]]:
    """Name of each convolution, as `conv_names`, to its kernel, and mean, variance, scale and offset of the normalisation
    behind it. The two may be parts of a module, or one."""
    known = {name for names in conv_names() for name in names}
    units: dict[str, dict[str, torch.Tensor]] = {}
    for (*modules, leaf), values in tensors.items():
        modules = modules[1:] if modules[:1] == ["layers"] else modules
        name = next((name for end in (0, 1) if (name := "_".join(modules[: len(modules) - end])) in known), "")
        part = "kernel" if values.ndim == 4 else next((part for word, part in _PARTS.items() if word in leaf), "")
        if name and values.ndim in (1, 4):
            units.setdefault(name, {})[part] = torch.from_numpy(values)
    return units


def _folded(unit: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel and offset of a convolution with the normalisation that follows it."""
    kernel, variance = unit["kernel"], unit["variance"]
    scale = unit.get("scale", torch.ones(len(kernel))) / (variance + EPSILON).sqrt()
    return kernel * scale[:, None, None, None], unit["offset"] - unit["mean"] * scale
