"""A configuration file with every key, its explanation and its value: `python -m ag3d.config --template [FILE]`.

A value that is not the default says so at the end of its line.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
from typing import Any

import yaml

from ag3d.config import Config
from ag3d.config.settings import default_of

HEADER = "# Every key; values that are not the defaults say so. Made by: python -m ag3d.config --template FILE"


def template(config: Config) -> str:
    """The configuration as YAML text, each key under a comment that explains it."""
    return "\n".join([HEADER, "", *_lines(config, 0)]) + "\n"


def _lines(settings: Any, depth: int) -> list[str]:
    lines: list[str] = []
    indent = "  " * depth
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            lines += [
                "",
                *_comment((value.__doc__ or "").strip(), indent),
                f"{indent}{field.name}:",
                *_lines(value, depth + 1),
            ]
            continue
        choices = field.metadata["choices"]
        if isinstance(value, list):
            value, choices = [_plain(item) for item in value], ()
        allowed = f" ({' | '.join(choices)})" if choices else ""
        lines += _comment(field.metadata["help"] + allowed, indent)
        written = _dump({field.name: value})
        if value != (default := default_of(field)):
            written[0] += f"  # default: {json.dumps(default, ensure_ascii=False)}"
        lines += [f"{indent}{line}" for line in written]
    return lines


def _dump(mapping: dict[str, Any]) -> list[str]:
    text: str = yaml.safe_dump(mapping, allow_unicode=True, sort_keys=False)
    return text.rstrip().splitlines()


def _plain(item: Any) -> Any:
    """An entry of a list; of settings, those that are given."""
    if not dataclasses.is_dataclass(item):
        return item
    return {name: value for name, value in vars(item).items() if value is not None}


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, 110 - len(indent))]
