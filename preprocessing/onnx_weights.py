"""The files in which an .onnx file keeps weights outside itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ag3d.core.bounded import read_bytes
from ag3d.core.errors import UserError

# Field numbers of ONNX's messages on the way to a tensor (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): of a model
# its graph; of that its initial tensors, and of its nodes the attributes' tensors.
_TENSORS = ((7, 5), (7, 1, 5, 5))
_EXTERNAL_DATA, _KEY, _VALUE = 13, 1, 2


def external_weights(path: Path) -> list[Path]:
    """Files beside the .onnx file that hold weights of it, each once; none of another kind of file. Raises UserError."""
    if path.suffix != ".onnx":
        return []
    data = memoryview(read_bytes(path))
    locations = set()
    try:
        for way in _TENSORS:
            for tensor in _messages(data, way):
                for entry in _messages(tensor, (_EXTERNAL_DATA,)):
                    key, value = (b"".join(_messages(entry, (field,))) for field in (_KEY, _VALUE))
                    if key == b"location":
                        locations.add(value.decode())
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} is not a whole ONNX file: {error}") from error
    # What lies elsewhere is refused when the network is loaded.
    files = [path.parent / location for location in sorted(locations)]
    return [file for file in files if file.resolve().is_relative_to(path.parent.resolve()) and file.is_file()]


def _messages(data: memoryview, way: tuple[int, ...]) -> Iterator[memoryview]:
    """The messages at the end of a way of fields."""
    if not way:
        yield data
        return
    for number, content in _fields(data):
        if number == way[0]:
            yield from _messages(content, way[1:])


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and content of the fields that have a length; others are passed over."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            _, position = _varint(data, position)
            continue
        size = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            size, position = _varint(data, position)
        elif not size:
            raise ValueError(f"a field of kind {kind}")
        if position + size > len(data):
            raise ValueError("a field reaches beyond its end")
        if kind == 2:
            yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError("a number of more than 64 bits")
