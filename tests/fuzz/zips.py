"""Zip files written by hand: false sizes and checksums, entries that unpack to gigabytes, names that stand twice."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from random import Random
from typing import NamedTuple

STORED, DEFLATED = 0, 8
RARELY, MANY = 0.004, 10_000  # how often a zip gets so many entries
NAMES = ["../../escaped.png", "/tmp/escaped.png", "a/../b.png", "record.json", "dataset.json", "img_x.png"]
NAMES += ["normal_x.png", "\x1b[31m.png", "a\nb.png", "é.png", "", "x" * 300]
_FIELDS = {
    b"PK\x03\x04": (4, 6, 8, 14, 18, 22, 26, 28),
    b"PK\x01\x02": (6, 8, 10, 16, 20, 24, 28, 30, 32, 42),
    b"PK\x05\x06": (8, 10, 12, 16, 20),
}
_VALUES = (0, 1, 2, 8, 9, 12, 14, 99, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)


class Member(NamedTuple):
    """An entry as it stands in the file."""

    name: str
    method: int
    checksum: int
    size: int
    packed: bytes


def stored(name: str, content: bytes) -> Member:
    return Member(name, STORED, zlib.crc32(content), len(content), content)


def deflated(name: str, parts: Iterable[bytes]) -> Member:
    packer, packed, checksum, size = zlib.compressobj(9, zlib.DEFLATED, -15), [], 0, 0
    for part in parts:
        packed.append(packer.compress(part))
        checksum, size = zlib.crc32(part, checksum), size + len(part)
    return Member(name, DEFLATED, checksum, size, b"".join([*packed, packer.flush()]))


def pack(members: Iterable[Member]) -> bytes:
    out, directory, count = bytearray(), bytearray(), 0
    for name, method, checksum, size, packed in members:
        encoded = name.encode(errors="surrogatepass")
        fields = struct.pack("<HHHHHIIIHH", 20, 0x800, method, 0, 33, checksum, len(packed), size, len(encoded), 0)
        directory += b"PK\x01\x02\x14\0" + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(out)) + encoded
        out += b"PK\x03\x04" + fields + encoded + packed
        count += 1
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(out), 0)
    return bytes(out + directory + b"PK\x05\x06" + end)


def unpack(data: bytes) -> list[Member]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [stored(name, archive.read(name)) for name in archive.namelist()]


def in_headers(random: Random, data: bytes) -> bytes:
    """A field of a header replaced: method, sizes, checksum, lengths, places."""
    content = bytearray(data)
    signature = random.choice(list(_FIELDS))
    places = (
        [k for k in range(len(data)) if data.startswith(signature, k)] if len(data) < 4096 else _places(data, signature)
    )
    place = random.choice(places) + random.choice(_FIELDS[signature])
    width = random.choice((1, 2, 4))
    content[place : place + width] = (random.choice(_VALUES) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(content)


def _places(data: bytes, signature: bytes) -> list[int]:
    found, place = [], data.find(signature)
    while place >= 0:
        found.append(place)
        place = data.find(signature, place + 1)
    return found


def in_members(
    changes: Mapping[str, Callable[[Random, bytes], bytes]], big: Callable[[str], Member] | None = None
) -> Callable[[Random, bytes], bytes]:
    """A mutator that damages the content of an entry by its suffix (`""`: all others), or the list of entries.

    `big`: an entry of that name that is small here and large when it is unpacked.
    """

    def change(random: Random, data: bytes) -> bytes:
        members = unpack(data)
        here, kind = random.randrange(len(members)), random.randrange(16)
        if random.random() < RARELY:
            members += [members[here]._replace(name=f"{number}{members[here].name}") for number in range(MANY)]
        member = members[here]
        if kind == 0:
            del members[here]
        elif kind == 1:
            members.append(member._replace(name=random.choice(members).name))
        elif kind == 2:
            members[here] = member._replace(name=random.choice((*NAMES, f"{member.name}x")))
        elif kind == 3:
            members[here] = member._replace(packed=random.choice(members).packed)
        elif kind == 4 and big is not None and random.random() < 0.05:
            members[here] = big(member.name)
        elif kind == 5:
            members.append(stored(random.choice(NAMES), b"x"))
        elif kind == 6:
            members[here] = deflated(member.name, [member.packed])
        elif kind == 7:
            return in_headers(random, data)
        else:
            suffix = PurePosixPath(member.name).suffix
            damaged = changes.get(suffix, changes.get("", lambda _, content: content))
            members[here] = stored(member.name, damaged(random, member.packed))
        return pack(members)

    return change
