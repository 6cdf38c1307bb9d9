"""Ways to damage a file: by bytes, and by the structure of its format, so that the damage comes behind the first check.

A mutator takes a random source and a whole file's bytes and returns another file. It may raise anything on bytes
that are not of its format: `mutated` then damages bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import yaml

Mutator = Callable[[Random, bytes], bytes]

NUMBERS = [0, 1, 2, 3, 7, 100, 127, 128, 255, 256, 4096, 2**15, 2**16 - 1, 2**16, 2**24, 2**30, 2**31 - 1, 2**31]
NUMBERS += [2**32 - 1, 2**32, 10**12, 2**53, 2**63 - 1, 2**63, 2**64 - 1]
TEXTS = [
    "",
    "x",
    "0",
    "nan",
    "1e400",
    "../../escaped",
    "/dev/zero",
    "/etc/passwd",
    "a\nb",
    "a\x1b[31mb",
    "<script>",
    "=1+1",
    "\0",
]
TEXTS += [
    "x" * 5000,
    "\u202e",
    "\ud800",
    "🦄",
    "%s%n",
    "{x}",
    "$(touch x)",
    "-rf",
    "a,b;c\td",
    "null",
    "cpu",
    "ok",
    "1" * 400,
]
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0.5,
    -0.0,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    -(2**63),
    [],
    {},
    [[]],
    [None],
]
VALUES += [{"": 0}, [1, [2, [3]]], *NUMBERS, *TEXTS]


RARELY = 0.004  # how often a file grows to megabytes, which takes time to read
GROWN = 2 << 20  # bytes


def mutated(random: Random, data: bytes, mutators: Sequence[Mutator]) -> bytes:
    """The file, damaged once, sometimes twice or three times."""
    for _ in range(random.choices((1, 2, 3), (8, 2, 1))[0]):
        try:
            data = random.choice(mutators)(random, data)
        except Exception:  # it is not of that format any more
            data = in_bytes(random, data)
    return data


# ---- bytes


def in_bytes(random: Random, data: bytes) -> bytes:
    """A few bits, bytes, numbers or stretches changed, moved, or taken away."""
    content = bytearray(data)
    for _ in range(random.choices((1, 2, 4, 16), (6, 3, 2, 1))[0]):
        place = random.randrange(len(content) + 1)
        if random.random() < 0.3:  # headers and ends are where formats keep their sizes
            place = min(
                random.choice((random.randrange(64), max(0, len(content) - 1 - random.randrange(64)))), len(content)
            )
        random.choice(_BYTE_CHANGES)(random, content, place)
    return bytes(content)


def _bit(random: Random, content: bytearray, place: int) -> None:
    if place < len(content):
        content[place] ^= 1 << random.randrange(8)


def _byte(random: Random, content: bytearray, place: int) -> None:
    content[place : place + 1] = bytes([random.choice((0, 255, 127, 128, 10, 34, random.randrange(256)))])


def _number(random: Random, content: bytearray, place: int) -> None:
    width = random.choice((1, 2, 4, 8))
    number = random.choice(NUMBERS) % 2 ** (8 * width)
    content[place : place + width] = number.to_bytes(width, random.choice(("little", "big")))


def _removed(random: Random, content: bytearray, place: int) -> None:
    del content[place : place + random.choice((1, 2, 4, 16, 256, len(content)))]


def _repeated(random: Random, content: bytearray, place: int) -> None:
    part = content[place : place + random.choice((1, 4, 16, 256))]
    content[place:place] = part * random.choice((1, 1, 2, 16))


def _inserted(random: Random, content: bytearray, place: int) -> None:
    content[place:place] = random.randbytes(random.choice((1, 2, 4, 16)))


def _grown(random: Random, content: bytearray, place: int) -> None:
    """To some megabytes of the same."""
    part = content[place : place + random.choice((1, 5, 40, 1000))]
    if part and random.random() < 20 * RARELY:
        content[place:place] = part * (GROWN // len(part))


def _moved(random: Random, content: bytearray, place: int) -> None:
    size, target = random.choice((1, 4, 16, 64)), random.randrange(len(content) + 1)
    part = content[place : place + size]
    content[target : target + size] = part


def _digits(random: Random, content: bytearray, place: int) -> None:
    """A number written as text becomes another."""
    if found := re.compile(rb"-?\d+").search(content, place):
        number = random.choice(
            (str(random.choice(NUMBERS)), "-1", "1e999", "0.5", "9" * random.choice((20, 400, 5000)))
        )
        content[found.start() : found.end()] = number.encode()


_BYTE_CHANGES = (_bit, _bit, _byte, _number, _number, _removed, _repeated, _inserted, _moved, _digits, _grown)


# ---- text


def in_lines(random: Random, data: bytes) -> bytes:
    """Lines of text dropped, repeated, exchanged, joined, or with a word replaced."""
    lines = data.split(b"\n")
    here, there = random.randrange(len(lines)), random.randrange(len(lines))
    if random.random() < RARELY:
        lines[here:here] = lines[there : there + 3] * (GROWN // max(100, len(lines[there])))
    kind = random.randrange(6)
    if kind == 0:
        del lines[here]
    elif kind == 1:
        lines.insert(there, lines[here])
    elif kind == 2:
        lines[here], lines[there] = lines[there], lines[here]
    elif kind == 3:
        lines[here] += lines.pop(there)
    elif kind == 4:
        words = re.split(rb"(\W+)", lines[here])
        words[random.randrange(len(words))] = random.choice(TEXTS).encode(errors="surrogatepass")
        lines[here] = b"".join(words)
    else:
        lines[here] = random.choice((b" ", b"  ", b"\t", b"- ", b"#", b"\xff\xfe", b"\xef\xbb\xbf")) + lines[here]
    return b"\n".join(lines)


# ---- trees: JSON and YAML


def changed_tree(random: Random, tree: Any) -> Any:
    """A copy of a tree of mappings and lists with a part replaced, removed, renamed, repeated or wrapped."""
    whole = [deepcopy(tree)]
    many = 100_000 if random.random() < RARELY else 3
    holder: Any = whole
    key: Any = 0
    while isinstance(holder[key], (dict, list)) and holder[key] and random.random() < 0.85:
        holder = holder[key]
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    kind = random.randrange(9)
    if kind <= 2:
        holder[key] = deepcopy(random.choice(VALUES))
    elif kind == 3 and holder is not whole:
        del holder[key]
    elif kind == 4 and isinstance(holder, dict):
        holder[random.choice((f"{key}x", *TEXTS))] = holder.pop(key)
    elif kind == 5:
        holder[key] = random.choice(([holder[key]], {"x": holder[key]}, str(holder[key])[:10000], [holder[key]] * many))
    elif kind == 6 and isinstance(holder, list):
        holder += holder[: random.choice((1, 10, 1000))] * many
    elif kind == 7:
        holder[key] = deepcopy(whole[0])
    elif isinstance(holder[key], (int, float)):
        holder[key] = holder[key] * random.choice((-1, 2, 1000, 0.5, 10**9))
    else:
        holder[key] = deepcopy(random.choice(VALUES))
    return whole[0]


_JSON_TEXTS = (
    b"",
    b"[]",
    b"{}",
    b"3",
    b"null",
    b'"x"',
    b"[" * 200_000,
    b'{"a":' * 50_000,
    b"\xff\xfe[\0]\0",
    b"NaN",
    b"9" * 5000,
)


def in_json(random: Random, data: bytes) -> bytes:
    if random.random() < 0.03:
        return random.choice(_JSON_TEXTS)
    return json.dumps(changed_tree(random, json.loads(data))).encode()


def in_json_lines(random: Random, data: bytes) -> bytes:
    lines = data.splitlines()
    place = random.randrange(len(lines))
    lines[place] = in_json(random, lines[place])
    return b"\n".join(lines) + b"\n"


_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n" for p, n in zip("abcdefg", "bcdefgh")
)
_YAML_VALUES = [
    ".inf",
    ".nan",
    "-.inf",
    "0x1F",
    "0o17",
    "1_000",
    "1e400",
    "2001-01-01",
    "2001-01-01 10:00:00",
    "~",
    "yes",
    "&a [*a]",
    "*h",
]
_YAML_VALUES += [
    "!!python/object/apply:os.system [true]",
    "!!binary aGk=",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!float x",
    "!!int x",
]
_YAML_VALUES += [
    "{",
    "[",
    "'",
    "? a",
    "|",
    "!x y",
    "!!timestamp x",
    "<<: *a",
    "9" * 5000,
    "{<<: [1]}",
    "&b {<<: *b}",
    "!!bool x",
]


def in_yaml(random: Random, data: bytes) -> bytes:
    text = data.decode()
    kind = random.randrange(4)
    if kind == 0:
        return yaml.safe_dump(changed_tree(random, yaml.safe_load(text))).encode(errors="surrogatepass")
    if kind == 1:
        return in_lines(random, data)
    lines = text.split("\n")
    place = random.randrange(len(lines))
    name, colon, _ = lines[place].partition(":")
    lines[place] = f"{name}{colon or ':'} {random.choice(_YAML_VALUES)}"
    return ((_BOMB if random.random() < 0.2 else "") + "\n".join(lines)).encode()


# ---- safetensors and glTF: a size, a JSON header, numbers


def in_safetensors(random: Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + size], data[8 + size :]
    if random.random() < 0.2:
        return random.choice(NUMBERS).to_bytes(8, "little") + header + rest
    header = in_json(random, header)
    return len(header).to_bytes(8, "little") + header + rest


def in_glb(random: Random, data: bytes) -> bytes:
    size = int.from_bytes(data[12:16], "little")
    header, rest = in_json(random, data[20 : 20 + size]), data[20 + size :]
    header += b" " * (-len(header) % 4)
    whole = data[16:20] + header + rest
    return data[:8] + (16 + len(whole)).to_bytes(4, "little") + len(header).to_bytes(4, "little") + whole
