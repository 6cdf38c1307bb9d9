"""How pictures are damaged, and data sets of them."""

from __future__ import annotations

import functools
import zlib
from random import Random

from tests.fuzz import zips
from tests.fuzz.mutators import NUMBERS, in_bytes, in_json, in_lines

_CHUNKS = [
    b"tRNS",
    b"PLTE",
    b"iCCP",
    b"eXIf",
    b"zTXt",
    b"tEXt",
    b"gAMA",
    b"sBIT",
    b"acTL",
    b"fcTL",
    b"IDAT",
    b"IEND",
    b"IHDR",
    b"cICP",
]


def in_png(random: Random, data: bytes) -> bytes:
    """Chunks dropped, repeated, exchanged, invented or changed, with right checksums; lengths that are not true."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        chunks.append([size, data[place + 4 : place + 8], data[place + 8 : place + 8 + size]])
        place += size + 12
    here, kind = random.randrange(len(chunks)), random.randrange(7)
    chunk = chunks[here]
    if kind == 0:
        del chunks[here]
    elif kind == 1:
        chunks.insert(random.randrange(len(chunks)), list(chunk))
    elif kind == 2:
        chunks.insert(here, [None, random.choice(_CHUNKS), random.randbytes(random.choice((0, 1, 13, 300)))])
    elif kind == 3:
        chunk[0] = random.choice(NUMBERS) % 2**32
    elif kind == 4:
        chunk[1] = random.choice(_CHUNKS)
    elif kind == 5:
        chunk[0], chunk[2] = None, in_bytes(random, chunk[2])
    else:
        header = bytearray(chunks[0][2])
        place, width = random.choice(((0, 4), (4, 4), (8, 1), (9, 1), (10, 1), (11, 1), (12, 1)))
        sides = (1, 7, 8192, 20000, 2**16, 2**31 - 1) if width == 4 else (0, 1, 2, 3, 4, 6, 8, 16, 255)
        header[place : place + width] = random.choice(sides).to_bytes(width, "big")
        chunks[0] = [None, chunks[0][1], bytes(header)]
    out = data[:8]
    for size, name, content in chunks:
        out += (len(content) if size is None else size).to_bytes(4, "big") + name + content
        out += zlib.crc32(name + content).to_bytes(4, "big")
    return out


def in_jpeg(random: Random, data: bytes) -> bytes:
    """Segments dropped, repeated, exchanged, invented or changed; sides of 65,535 pixels."""
    segments, place = [], 2
    while data[place] == 0xFF and data[place + 1] != 0xDA:
        size = 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        segments.append(data[place : place + size])
        place += size
    here, kind = random.randrange(len(segments)), random.randrange(6)
    if kind == 0:
        del segments[here]
    elif kind == 1:
        segments.insert(random.randrange(len(segments)), segments[here])
    elif kind == 2:
        segments[here] = segments[here][:2] + (random.choice(NUMBERS) % 65536).to_bytes(2, "big") + segments[here][4:]
    elif kind == 3:
        content = random.choice((b"Exif\0\0", b"ICC_PROFILE\0\1\1", b"JFIF\0", b"Adobe\0d\0")) + random.randbytes(
            random.randrange(60)
        )
        marker = random.choice((0xE0, 0xE1, 0xE2, 0xEE, 0xDB, 0xC4, 0xC0, 0xDD, 0xFE))
        segments.insert(here, bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content)
    elif kind == 4:
        segments[here] = segments[here][:4] + in_bytes(random, segments[here][4:])
    else:
        frames = [k for k, part in enumerate(segments) if 0xC0 <= part[1] <= 0xC2]
        frame, value = bytearray(segments[frames[0]]), random.choice((1, 8000, 14000, 65535)).to_bytes(2, "big")
        place_of_side = random.choice((5, 7))
        frame[place_of_side : place_of_side + 2] = value
        segments[frames[0]] = bytes(frame)
    return data[:2] + b"".join(segments) + data[place:]


@functools.cache
def _big_json() -> zips.Member:
    return zips.deflated("", [b"[" + b"[]," * (8 << 20) + b"0]"])


def _big(name: str) -> zips.Member:
    return _big_json()._replace(name=name)


IN_DATASET = (zips.in_members({".png": in_png, ".json": in_json, ".py": in_lines, "": in_bytes}, _big), in_bytes)
