"""What a released checkpoint may name, and the inert classes that stand for it.

Tensors, persistent modules and mappings have classes of their own. Everything else that such files need (modules of the
authors' code, helpers for closures, data types) becomes a `Placeholder`: it keeps what it is given and does nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from math import prod
from typing import Any

import numpy as np

from ag3d.model.legacy.torch_storage import read_storage
from ag3d.model.safe_pickle.unpickler import Inert, Mapping, Names, Values, common_names


class Placeholder(Inert):
    """Stands for any class or function; may be filled and called like one."""

    def __call__(self, *arguments: Any) -> Placeholder:
        return Placeholder(*arguments)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    add = append


class Persistent(Inert):
    """A module with its source text: _reconstruct_persistent_obj(mapping with `state` and `module_src`)."""


class Storage(Inert):
    """torch.storage._load_from_bytes(bytes)"""

    def value(self, values: Values) -> np.ndarray:
        data = values(self.arguments[0])
        if not isinstance(data, bytes):
            raise ValueError("a tensor without data")
        return read_storage(data)


class Tensor(Inert):
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …)"""

    def value(self, values: Values) -> np.ndarray:
        storage, offset, size, stride, *_ = self.arguments
        flat = values.array(storage)
        if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
            raise ValueError("a tensor of unknown layout")
        if len(size) != len(stride) or len(size) > 8:
            raise ValueError("a tensor whose size and strides do not fit")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if flat.ndim != 1 or prod(size) == 0 or last >= flat.size:  # as_strided reads wherever it is told to
            raise ValueError(f"a tensor of size {list(size)} and {flat.size} numbers")
        values.spend(prod(size) * flat.itemsize)
        steps = [step * flat.itemsize for step in stride]
        return np.lib.stride_tricks.as_strided(flat[offset:], size, steps, writeable=False).copy()


class Parameter(Inert):
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks)"""

    def value(self, values: Values) -> Any:
        return values(self.arguments[0])


class Attributed(Inert):
    """torch._tensor._rebuild_from_type_v2(function, class, arguments, state): a tensor with attributes."""

    def value(self, values: Values) -> Any:
        function, _, arguments, _ = self.arguments
        if function not in (Tensor, Parameter):
            raise ValueError("a tensor of an unknown kind")
        return values(function(*arguments))


def _a_class(*arguments: Any) -> type[Placeholder]:
    """dill's _create_type and _load_type: what they return is instantiated."""
    return Placeholder


_EXACT: dict[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Persistent,
    ("dnnlib.util", "EasyDict"): Mapping,
    ("collections", "defaultdict"): Mapping,
    ("dill._dill", "_create_type"): _a_class,
    ("dill._dill", "_load_type"): _a_class,
    ("torch.storage", "_load_from_bytes"): Storage,
    ("torch._utils", "_rebuild_tensor_v2"): Tensor,
    ("torch._utils", "_rebuild_parameter"): Parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): Parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): Attributed,
}
_OWN_CODE = re.compile(r"(training|torch_utils|dnnlib)(\.\w+)*")  # modules of the authors' repository
_HARMLESS = {
    "builtins": "bool bytearray bytes classmethod complex dict float frozenset getattr int list property range setattr "
    "slice staticmethod str tuple type",
    "dill": "_dill",
    "dill._dill": "_create_array _create_cell _create_code _create_dtypemeta _create_ftype _create_function "
    "_create_namedtuple _create_weakref _eval_repr _get_attr _import_module _setitems",
    "functools": "partial",
    "pathlib": "PosixPath PurePosixPath WindowsPath",
    "torch._C": "_VariableFunctionsClass",
    "torch": "Size contiguous_format device dtype strided",
    "types": "CodeType CellType FunctionType MappingProxyType MethodType SimpleNamespace",
}
_TORCH_MODULE = re.compile(r"torch\.nn(\.\w+)*\.[A-Z]\w*|torch\.nn\.functional\.\w+|torch\._C\._nn\.\w+")
_TORCH_DTYPE = re.compile(r"torch\.(u?int|float|bfloat|complex)\d+|torch\.bool")


def _is_placeholder(module: str, name: str) -> bool:
    module = "builtins" if module == "__builtin__" else module  # its name in protocols before 3
    whole = f"{module}.{name}"
    if name in _HARMLESS.get(module, "").split():
        return True
    if _OWN_CODE.fullmatch(module):
        return name.isidentifier()
    return bool(_TORCH_MODULE.fullmatch(whole) or _TORCH_DTYPE.fullmatch(whole))


def names(also: Collection[str] = ()) -> Names:
    """The names that a released checkpoint may use, and those of `also` ("module.name"), as placeholders."""

    def find(module: str, name: str) -> Any:
        known = _EXACT.get((module, name)) or common_names(module, name)
        if known is None and (f"{module}.{name}" in also or _is_placeholder(module, name)):
            return Placeholder
        return known

    return find
