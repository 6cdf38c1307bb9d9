"""Checking a pickle's instructions before it is read: a small file must not be able to ask for much memory or time."""

from __future__ import annotations

import mmap
import pickle
import pickletools

MAX_INSTRUCTIONS = 1_000_000  # a released checkpoint has about a fifth of this; each makes at most a small object
_LENGTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_SIZES = {ord(each.code): each.arg.n if each.arg else 0 for each in pickletools.opcodes}
_PERSISTENT = (*pickle.PERSID, *pickle.BINPERSID)
_NEVER = (*pickle.EXT1, *pickle.EXT2, *pickle.EXT4, *pickle.NEXT_BUFFER, *pickle.READONLY_BUFFER)
_TWO_LINES = (*pickle.GLOBAL, *pickle.INST)
_PUT, _FRAME, _STOP = pickle.PUT[0], pickle.FRAME[0], pickle.STOP[0]
_BINARY_PUT = (*pickle.BINPUT, *pickle.LONG_BINPUT)


def check_pickle(
    data: bytes | mmap.mmap, start: int = 0, max_instructions: int = MAX_INSTRUCTIONS, persistent: bool = False
) -> int:
    """Where the pickle that begins at `start` ends.

    Raises EOFError where an argument reaches beyond the data, ValueError where an instruction is unknown, needs things
    from outside the file (`persistent` allows persistent ids), or names a place in the memo that no writer names: the
    unpickler's memo grows to the highest position.
    """
    position, end = start, len(data)
    for count in range(1, max_instructions + 1):
        if position >= end:
            raise EOFError("it ends in the middle")
        code = data[position]
        size = _SIZES.get(code)
        if size is None or code in _NEVER or (code in _PERSISTENT and not persistent):
            raise ValueError(f"byte {position} is no instruction of a self-contained pickle")
        position += 1
        argument = position
        if size == pickletools.UP_TO_NEWLINE:
            position = _after_lines(data, position, 2 if code in _TWO_LINES else 1)
        elif size < 0:
            width = _LENGTHS[size]
            position += width + int.from_bytes(data[position : position + width], "little")
        else:
            position += size
        if position > end or (code == _FRAME and int.from_bytes(data[argument:position], "little") > end - position):
            raise EOFError("it ends in the middle")
        if code in _BINARY_PUT:
            _check_memo(int.from_bytes(data[argument:position], "little"), count)
        elif code == _PUT:
            _check_memo(int(data[argument:position]), count)
        elif code == _STOP:
            return position
    raise ValueError(f"it has more than {max_instructions:,} instructions")


def _after_lines(data: bytes | mmap.mmap, position: int, lines: int) -> int:
    for _ in range(lines):
        newline = data.find(b"\n", position)
        if newline < 0:
            raise EOFError("it ends in the middle")
        position = newline + 1
    return position


def _check_memo(index: int, count: int) -> None:
    if not 0 <= index <= count:
        raise ValueError(f"it names place {index:,} of its memo, and has only {count:,} instructions before")
