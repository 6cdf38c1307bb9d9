"""Reading a pickle without executing anything in it.

A pickle is a program that calls functions by name. Here every name that a file may use stands for an inert class that
only keeps what it is given; any other name is refused before it is looked up. numpy's own classes are not used either,
since they trust the sizes that a file states. Values are computed afterwards, for what is asked for, within a budget.
"""

from __future__ import annotations

import codecs
import mmap
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from ag3d.core.bounded import MOST_BYTES, open_regular
from ag3d.core.errors import UserError
from ag3d.model.safe_pickle import scanner

Names = Callable[[str, str], Any]  # module and name to an inert class; None: refused
MAX_DEPTH = 16  # expressions inside expressions; real files have three
DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
    RecursionError,
    OverflowError,
)


codecs.lookup("raw-unicode-escape")  # which the oldest pickles want: nothing is imported while a strange file is read
_COMPRESSED = {b"\x1f\x8b": "gzip", b"x": "zlib", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x04\x22M\x18": "lz4"}


class Refused(pickle.UnpicklingError):
    """The pickle names something that such a file does not need."""


class Values:
    """Computes the values of inert objects, each once, making at most `budget` bytes of arrays."""

    def __init__(self, budget: int) -> None:
        self._left, self._depth = budget, 0
        self._known: dict[int, tuple[Inert, Any]] = {}  # the object too: while it lives, its id is its own

    def __call__(self, expression: Any) -> Any:
        """The value of an inert object; anything else is its own."""
        if not isinstance(expression, Inert):
            return expression
        if id(expression) not in self._known:
            if self._depth == MAX_DEPTH:
                raise ValueError("an expression is nested too deeply")
            self._depth += 1
            try:
                self._known[id(expression)] = expression, expression.value(self)
            finally:
                self._depth -= 1
        return self._known[id(expression)][1]

    def array(self, expression: Any) -> np.ndarray:
        """Raises ValueError where the value is no array: lists may hold one another over and over."""
        value = self(expression)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{type(value).__name__} instead of an array")
        return value

    def spend(self, size: int) -> None:
        """To be asked before an array of `size` bytes is made."""
        self._left -= size
        if size < 0 or self._left < 0:
            raise ValueError("its parts are larger than the file can hold")


class Inert:
    """Keeps arguments and state; a class of its own for each name that has a value."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def value(self, values: Values) -> Any:
        raise ValueError(f"no value is known for {type(self).__name__.lstrip('_')}")


class Mapping(dict[Any, Any]):
    """Any kind of mapping. What its constructor was given stays out of it: copies could be made without end."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


class _Collection(Inert):
    """A set, whatever is in it."""

    def add(self, item: Any) -> None:
        pass


class _Dtype(Inert):
    """numpy.dtype(name, align, copy), then state (version, byte order, …)."""

    def value(self, values: Values) -> np.dtype:
        name = self.arguments[0]
        name = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(name, str) or not re.fullmatch(r"[<>=|]?[biuf][0-9]{1,2}", name):
            raise ValueError(f"an array of type {name:.40}" if isinstance(name, str) else "an array of unknown type")
        dtype = np.dtype(name)
        return dtype.newbyteorder(self.state[1]) if self.state and self.state[1] in ("<", ">") else dtype


def _array(values: Values, raw: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
    raw = values(raw)
    if not isinstance(raw, str | bytes | bytearray):
        raise ValueError("an array without bytes")
    values.spend(len(raw))
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(data, values(dtype)).reshape(tuple(int(n) for n in shape), order=order).copy()


class _Array(Inert):
    """An ndarray: state (version, shape, dtype, is Fortran-ordered, bytes)."""

    def value(self, values: Values) -> np.ndarray:
        _, shape, dtype, fortran, raw = self.state
        return _array(values, raw, dtype, shape, "F" if fortran else "C")


class _Buffer(Inert):
    """An ndarray of protocol 5: _frombuffer(bytes, dtype, shape, order)."""

    def value(self, values: Values) -> np.ndarray:
        raw, dtype, shape, order = self.arguments
        return _array(values, raw, dtype, shape, order)


class _Scalar(Inert):
    def value(self, values: Values) -> Any:
        dtype, raw = self.arguments
        return _array(values, raw, dtype, (1,), "C")[0]


class _Encoded(Inert):
    """_codecs.encode(text, encoding): how protocols before 3 write bytes."""

    def value(self, values: Values) -> bytes:
        text, encoding = (*self.arguments, "latin1")[:2]
        if encoding not in ("latin1", "latin-1", "ascii", "utf-8") or not isinstance(text, str):
            raise ValueError("bytes of an unknown encoding")
        values.spend(len(text))
        return text.encode(encoding)


def _reconstructor(cls: type, base: type, state: object) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, (Inert, Mapping)) and base is object):
        raise Refused("an object of an unknown class")
    return cls()


EXACT: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Encoded,
    ("collections", "OrderedDict"): Mapping,
    **{(module, "set"): _Collection for module in ("builtins", "__builtin__")},
    **{(module, "object"): object for module in ("builtins", "__builtin__")},
    **{(module, "_reconstructor"): _reconstructor for module in ("copyreg", "copy_reg")},
}
# Modules inside numpy have moved over the years; the names have not.
NUMPY: dict[str, type[Inert]] = {
    "ndarray": _Array,
    "_reconstruct": _Array,
    "dtype": _Dtype,
    "scalar": _Scalar,
    "_frombuffer": _Buffer,
}


def common_names(module: str, name: str) -> Any:
    """What any data file may name: mappings, sets, bytes and numpy's arrays."""
    return EXACT.get((module, name)) or (NUMPY.get(name) if module.split(".", maxsplit=1)[0] == "numpy" else None)


_Steps: Any = pickle._Unpickler  # the unpickler in Python, whose steps can be looked at; typeshed does not know them


def _check_key(key: Any) -> None:
    """Keys of equal hashes are compared without end, and anybody can write numbers and tuples that have them."""
    small = isinstance(key, int) and abs(key) < sys.hash_info.modulus
    if not small and not isinstance(key, str | bytes | Inert | type | None):
        raise ValueError(f"a key of the kind {type(key).__name__}")


def _with_checked_keys(code: int, keys: slice) -> Callable[[Any], None]:
    """A step that takes keys from these places of the stack."""

    def step(reader: Any) -> None:
        for key in reader.stack[keys]:
            _check_key(key)
        _Steps.dispatch[code](reader)

    return step


def _build(reader: Any) -> None:
    if not isinstance(reader.stack[-2], Inert | Mapping):  # a function that the reader handed out would be changed
        raise Refused("a state for what has none")
    _Steps.dispatch[pickle.BUILD[0]](reader)


_KEYS = {
    pickle.SETITEM: slice(-2, -1),
    pickle.SETITEMS: slice(None, None, 2),
    pickle.DICT: slice(None, None, 2),
    pickle.ADDITEMS: slice(None),
    pickle.FROZENSET: slice(None),
}


class _Reader(_Steps):
    dispatch = _Steps.dispatch | {code[0]: _with_checked_keys(code[0], keys) for code, keys in _KEYS.items()}
    dispatch[pickle.BUILD[0]] = _build

    def __init__(self, stream: BinaryIO, names: Names) -> None:
        super().__init__(stream, encoding="latin1")
        self._names = names

    def find_class(self, module: str, name: str) -> Any:
        inert = self._names(module, name)
        if inert is None:
            raise Refused(f"{module}.{name}")
        return inert


@contextmanager
def refusing(path: Path, what: str, hint: str) -> Iterator[None]:
    """Turns what reading a strange file may raise into a UserError; `what` such a file should be."""
    try:
        yield
    except Refused as error:
        raise UserError(
            f"{path} was refused: it names {_printable(error)}, which {what} does not need. "
            f"Nothing in it was executed. {hint}"
        ) from error
    except DAMAGED as error:
        raise UserError(
            f"{path} is not {what}, or not all of it ({type(error).__name__}: {_printable(error)}). {hint}".rstrip()
        ) from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def read(path: Path, names: Names) -> Any:
    """What the pickle describes, as plain containers and inert objects. Use it inside `refusing`."""
    with open_regular(path) as handle:
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if len(content) > MOST_BYTES:
                raise ValueError("it is larger than 2 GB")
            for beginning, kind in _COMPRESSED.items():
                if content[: len(beginning)] == beginning:
                    raise ValueError(f"it is compressed ({kind}), as joblib writes files; unpack it first")
            scanner.check_pickle(content)
        return _Reader(handle, names).load()


def _printable(error: Exception) -> str:
    """A file's text must neither flood the terminal nor control it."""
    return "".join(c if c.isprintable() else "?" for c in str(error)[:300])
