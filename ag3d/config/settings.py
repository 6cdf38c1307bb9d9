"""Settings as dataclasses: one place for a key's type, default and explanation.

A field is declared with `option(default, "explanation")`. From the same declaration come the check of a configuration
file, the command-line options of the stage and the JSON schema in `workflow/schemas`.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import functools
import json
import math
import os
import re
import reprlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml

from ag3d.config.renamed import old_names
from ag3d.core.bounded import parse_json, read_text
from ag3d.core.errors import UserError

S = TypeVar("S")
MOST_TEXT = 2**22  # bytes of a configuration
MOST_PARTS = 200_000
_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    path: bool = False,
    pattern: str = "",
) -> Any:
    """A dataclass field with an explanation and, if given, the values or the closed range that it, or each of a list's
    entries, may take. `default`: a value, or a dataclass of settings.

    `path`: a file or folder of the user's; `~` at its beginning is the home folder. `pattern`: what a text must look like.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "path": path, "pattern": pattern}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    if isinstance(default, type):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def device_option() -> Any:
    """The field of a setting that names a device."""
    return option("auto", "auto: CUDA where there is one; or cpu, cuda, cuda:1 …", pattern=r"auto|cpu|cuda(:\d+)?")


def from_mapping(cls: type[S], mapping: Mapping[str, Any] | None, where: str = "") -> S:
    """Build the dataclass `cls` from a plain mapping, checking every key, type and range.

    `where` is the dotted place of the mapping, for error messages. Raises UserError naming the key.
    """
    place = f"{where}." if where else ""
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, Mapping):
        raise UserError(f"configuration: {where or 'the file'} must be a mapping of keys, not {describe(mapping)}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in mapping:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{place}{near[0]}'?" if near else f"known keys here: {', '.join(fields)}"
            raise UserError(f"configuration: unknown key '{place}{key}'; {hint}")
    values = {key: _convert(hints[key], value, f"{place}{key}", fields[key]) for key, value in mapping.items()}
    return cls(**values)


def to_mapping(settings: Any) -> dict[str, Any]:
    """The settings as plain values, in the order of declaration."""
    return dataclasses.asdict(settings)


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe reader, which lets no key stand twice: the first of two would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.value in lines and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(
                    f"'{key.value}' stands in line {lines[key.value]} and again", None, None, key.start_mark
                )
            lines[str(key.value)] = key.start_mark.line + 1
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def parse_yaml(text: str, name: str) -> Any:
    """YAML to plain values. An anchor may be used over and over, but not so often that the whole is longer than a
    configuration can be. Raises UserError that names `name` and the line."""
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _parts(node, {}) > MOST_PARTS:
            raise ValueError(f"its anchors (&) make more than {MOST_PARTS:,} parts of it")
        return loader.construct_document(node)
    except Exception as error:  # PyYAML's own constructors fail in many ways
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{name} is not valid YAML: {reason}") from error


def _parts(node: yaml.Node, known: dict[int, int]) -> int:
    """How many parts a node has where every alias is written out."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MOST_PARTS + 1  # while it is being counted: it may hold itself
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(part,) for part in node.value]
        known[id(node)] = 1 + sum(_parts(part, known) for pair in pairs for part in pair)
    return known[id(node)]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping of YAML, or of JSON from a file of that name, without constructing objects.

    Raises UserError naming the file and the line.
    """
    text = read_text(path, MOST_TEXT)
    if path.suffix == ".json":
        content = parse_json(text, str(path), functools.partial(_unique, path))
    else:
        content = parse_yaml(text, str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a mapping of keys, not {describe(content)}")
    return content


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        raise UserError(f"{path}: '{next(key for key in keys if keys.count(key) > 1)}' stands in it twice")
    return mapping


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `base`, section by section."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def add_options(parser: argparse.ArgumentParser, cls: type) -> None:
    """Give `parser` the option `--config`, and one for every field of `cls`, a section of the configuration."""
    section = cls.__name__.lower()
    group = parser.add_argument_group(
        "settings", f"as under the configuration's section '{section}'; {cls.__doc__ or ''}"
    )
    group.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="configuration files, whole or in part (YAML, JSON), of which later ones win; options given beside them win over all",
    )
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        default = default_of(field)
        if dataclasses.is_dataclass(default):
            default = to_mapping(default)
        choices = field.metadata["choices"] if _type_name(hints[field.name]) != "yaml" else ()
        allowed = f"; one of {', '.join(choices)}" if choices else ""
        help = f"{field.metadata['help']}{allowed} (default: {json.dumps(default)})".replace("%", "%%")
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            dest=f"setting_{field.name}",
            default=None,
            metavar=_type_name(hints[field.name]).upper(),
            help=help,
        )
    for old, new in old_names(section):
        group.add_argument(f"--{old.replace('_', '-')}", dest=f"setting_{new}", help=argparse.SUPPRESS)


def from_options(cls: type[S], arguments: argparse.Namespace) -> S:
    """The settings that the options made by `add_options` describe. Raises UserError."""
    from ag3d.config import read  # the package is made of this module's dataclasses

    settings = getattr(read(arguments.config), cls.__name__.lower())
    given = {
        field.name: parse_yaml(text, f"--{field.name.replace('_', '-')}")
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if (text := getattr(arguments, f"setting_{field.name}")) is not None
    }
    return from_mapping(cls, to_mapping(settings) | given)


def default_of(field: dataclasses.Field[Any]) -> Any:
    """A field's default value, made anew where it is mutable."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def schema(cls: type) -> dict[str, Any]:
    """JSON schema (2020-12) of the dataclass, with explanations and defaults."""
    hints = typing.get_type_hints(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        entry = _type_schema(hints[field.name])
        entry["description"] = field.metadata["help"]
        limits = entry.get("items", entry)  # of a list, its entries'
        if choices := field.metadata["choices"]:
            limits["enum"] = list(choices)
        for name, limit in (("minimum", field.metadata["low"]), ("maximum", field.metadata["high"])):
            if limit is not None:
                limits[name] = limit
        if pattern := field.metadata["pattern"]:
            limits["pattern"] = f"^({pattern})$"
        if "properties" not in entry:
            entry["default"] = default_of(field)
        properties[field.name] = entry
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip(),
        "additionalProperties": False,
        "properties": properties,
    }


# Type to its names in the schema, in messages and in a command's help.
_TYPES = {
    int: ("integer", "a whole number", "number"),
    float: ("number", "a number", "number"),
    str: ("string", "text", "text"),
    bool: ("boolean", "true or false", "true|false"),
    type(None): ("null", "null", "null"),
}


def _type_name(kind: Any) -> str:
    """In a command's help."""
    return _TYPES[kind][2] if kind in _TYPES else "yaml"


def _type_schema(kind: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        return schema(typing.cast(type, kind))
    if get_origin(kind) is types.UnionType:
        return {"anyOf": [_type_schema(member) for member in get_args(kind)]}
    if get_origin(kind) is list:
        return {"type": "array", "items": _type_schema(get_args(kind)[0])}
    return {"type": _TYPES[kind][0]}


def short(value: Any) -> str:
    """A value of the user's for a message: never long, whatever it holds."""
    text = reprlib.repr(value)
    return text if len(text) <= 120 else f"{text[:120]} …"


def describe(value: Any) -> str:
    """The same with its type."""
    return f"{short(value)} ({type(value).__name__})"


def _convert(kind: Any, value: Any, place: str, field: dataclasses.Field[Any]) -> Any:
    """`value` as the declared type and within the field's limits, or a UserError that names the key."""
    if dataclasses.is_dataclass(kind):
        return from_mapping(typing.cast(type, kind), value, place)
    if get_origin(kind) is types.UnionType:  # of a type and None
        return None if value is None else _convert(get_args(kind)[0], value, place, field)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            raise UserError(f"configuration: '{place}' must be a list, not {describe(value)}")
        return [_convert(get_args(kind)[0], entry, f"{place}[{index}]", field) for index, entry in enumerate(value)]
    if kind is float and (type(value) is int or (isinstance(value, str) and _SCIENTIFIC.fullmatch(value))):
        try:
            value = float(value)  # YAML 1.1 takes 1e-4 for text
        except OverflowError:
            value = math.inf
    if type(value) is not kind:
        raise UserError(f"configuration: '{place}' must be {_TYPES[kind][1]}, not {describe(value)}")
    _check_limits(value, place, field)
    return os.path.expanduser(value) if field.metadata["path"] else value


def _check_limits(value: Any, place: str, field: dataclasses.Field[Any]) -> None:
    choices, low, high, pattern = (field.metadata[name] for name in ("choices", "low", "high", "pattern"))
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"configuration: '{place}' is {value}; it must be a finite number")
    if pattern and not re.fullmatch(pattern, value):
        raise UserError(f"configuration: '{place}' is {short(value)}; {field.metadata['help']}")
    if choices and value not in choices:
        near = difflib.get_close_matches(value, choices, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        names = ", ".join(map(repr, choices))
        raise UserError(f"configuration: '{place}' is {short(value)}; it must be one of {names}{hint}")
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = (
            f"at least {low}" if high is None else f"at most {high}" if low is None else f"between {low} and {high}"
        )
        raise UserError(f"configuration: '{place}' is {short(value)}; it must be {bounds}")
