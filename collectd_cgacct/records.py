# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is kept beside the counters, in memory that outlives the process. Pure.

Two things, each written by one thread. The *journal* holds what has happened to cgroups and
no sample has taken in yet. The *book* holds the ledger as of the last sample: a log of
lines, each of which replaces an earlier one of the same subject, and the readings. All of a
sample is committed by the store of one octet; until then what was committed before it
stands. So a kill at any instruction leaves the one or the other.

A line is a JSON array. The memory is any writable buffer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from .counters import Values

# A subject, and what is known of it: see continuity.py.
Line = Sequence[Any]

Buffer = Any  # what struct and slices can write to: bytearray, mmap

_WORD = struct.Struct("Q")
# Both begin with words about what is behind them. The last of these words:
_HEAD = 64
_MARK, _MARK_AT = b"cgacct 1", 56


def _check(memory: Buffer) -> None:
    if bytes(memory[_MARK_AT:_HEAD]) != _MARK:
        raise ValueError("this memory was never written by us")


# Plain ASCII, lone surrogates too.
_to_json = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode


def _encode(line: Line) -> bytes:
    return _to_json(line).encode("ascii") + b"\n"


def _decode(data: bytes) -> Iterator[Line]:
    return map(json.loads, data.splitlines())


class Journal:
    """A ring of lines. Positions count octets from the beginning of time."""

    def __init__(self, memory: Buffer) -> None:
        """Go on with what begin() has begun; ValueError if it has not."""
        _check(memory)
        self._memory = memory
        self._size = len(memory) - _HEAD
        self.head = int(_WORD.unpack_from(memory)[0])
        # Up to where the reader has committed what it took in; the reader sets it.
        self.tail = self.head

    @staticmethod
    def begin(memory: Buffer, head: int = 0) -> None:
        """Begin a journal at a position, in memory that is zero."""
        _WORD.pack_into(memory, 0, head)
        memory[_MARK_AT:_HEAD] = _MARK

    def append(self, line: Line) -> int:
        """Add a line; return the position behind it.

        While there is no room it is left out: it then counts from the next sample only.
        """
        data = _encode(line)
        if self.head + len(data) - self.tail <= self._size:
            begin = self.head % self._size
            first = data[: self._size - begin]
            self._memory[_HEAD + begin : _HEAD + begin + len(first)] = first
            self._memory[_HEAD : _HEAD + len(data) - len(first)] = data[len(first) :]
            # One store, after all others.
            self.head += len(data)
            _WORD.pack_into(self._memory, 0, self.head)
        return self.head

    def since(self, tail: int) -> Iterator[Line]:
        """Yield the lines from position ``tail`` on, and keep them until it moves."""
        if not self.head - self._size <= tail <= self.head:
            return
        self.tail = tail
        begin, length = tail % self._size, self.head - tail
        ring = bytes(self._memory[_HEAD:])
        yield from _decode((ring[begin:] + ring[:begin])[:length])


_BOOK_HEAD = 2 * _HEAD


class Full(Exception):
    """The book has no room; make a larger one."""


class Kept(NamedTuple):
    """What was committed last: the log, the readings by cgroup, a position in the journal."""

    lines: list[Line]
    readings: dict[int, Values]
    tail: int


# So many readings are compared, and written, at once.
_CHUNK = 256


class _Column:
    """Readings, and whose they are."""

    def __init__(self, memory: Buffer, offset: int, room: int, width: int) -> None:
        self._memory = memory
        self._ids = offset
        self._readings = offset + room * _WORD.size
        self._width = width

    def write(self, begin: int, ids: Sequence[int], readings: Sequence[Values]) -> None:
        at = self._ids + begin * _WORD.size
        struct.pack_into(f"{len(ids)}Q", self._memory, at, *ids)
        at = self._readings + begin * self._width * _WORD.size
        numbers = chain.from_iterable(readings)
        struct.pack_into(f"{len(ids) * self._width}Q", self._memory, at, *numbers)

    def read(self, count: int) -> dict[int, Values]:
        ids = struct.unpack_from(f"{count}Q", self._memory, self._ids)
        numbers = struct.unpack_from(f"{count * self._width}Q", self._memory, self._readings)
        return dict(zip(ids, zip(*[iter(numbers)] * self._width)))


class Book:
    """Two columns of readings, of which one is current, and the log.

    ``width`` is the length of a reading.
    """

    # The octet that says which of the two is current; how many readings there is room for;
    # for each of the two: where the log ends, the position in the journal, how many readings.
    _CURRENT, _ROOM, _STATES = 0, 8, (_HEAD, _HEAD + 24)
    _STATE = struct.Struct("QQQ")

    def __init__(self, memory: Buffer, width: int) -> None:
        """Go on with what begin() has begun; ValueError if it has not."""
        _check(memory)
        self._memory = memory
        self._current = int(memory[self._CURRENT])
        room = int(_WORD.unpack_from(memory, self._ROOM)[0])
        length = room * (1 + width) * _WORD.size
        offsets = (_BOOK_HEAD, _BOOK_HEAD + length)
        self._room = room
        self._columns = [_Column(memory, offset, room, width) for offset in offsets]
        self._log = _BOOK_HEAD + 2 * length
        self._end = self._state()[0] or self._log
        # The last sample, and which of its parts the other column lacks.
        self._ids: list[int] = []
        self._readings: list[Values] = []
        self._stale: set[int] = set()

    @property
    def tail(self) -> int:
        """The position in the journal that was committed last."""
        return int(self._state()[1])

    @staticmethod
    def size(width: int, readings: int, log: int) -> int:
        """Return the octets for so many readings, and a log of so many octets."""
        return _BOOK_HEAD + 2 * readings * (1 + width) * _WORD.size + log

    @classmethod
    def begin(cls, memory: Buffer, readings: int) -> None:
        """Begin an empty book in memory that is zero, with room for so many readings."""
        _WORD.pack_into(memory, cls._ROOM, readings)
        memory[_MARK_AT:_HEAD] = _MARK

    def _state(self) -> tuple[Any, ...]:
        return self._STATE.unpack_from(self._memory, self._STATES[self._current])

    @staticmethod
    def encode(lines: Iterable[Line]) -> bytearray:
        """Return lines as commit() takes them."""
        data = bytearray()
        for line in lines:
            data += _encode(line)
        return data

    def commit(self, lines: bytearray, ids: list[int], readings: list[Values], tail: int) -> None:
        """Write a sample: all of it, or none. Raises Full."""
        end = self._end + len(lines)
        if end > len(self._memory) or len(ids) > self._room:
            raise Full
        other = 1 - self._current
        self._memory[self._end : end] = lines
        changed = self._changed(ids, readings)
        for begin in changed | self._stale:
            part = slice(begin, begin + _CHUNK)
            self._columns[other].write(begin, ids[part], readings[part])
        self._stale = changed
        self._ids, self._readings = ids[:], readings[:]
        self._STATE.pack_into(self._memory, self._STATES[other], end, tail, len(ids))
        self._memory[self._CURRENT] = other
        self._current, self._end = other, end

    def _changed(self, ids: list[int], readings: list[Values]) -> set[int]:
        """Return where the parts begin that are not as in the last sample."""
        changed = set()
        for begin in range(0, len(ids), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            if readings[part] != self._readings[part] or ids[part] != self._ids[part]:
                changed.add(begin)
        return changed

    def read(self) -> Kept:
        """Return what was committed last."""
        count = self._state()[2]
        lines = list(_decode(bytes(self._memory[self._log : self._end])))
        return Kept(lines, self._columns[self._current].read(count), self.tail)
