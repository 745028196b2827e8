# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The book and the journal: whatever is cut short, the one or the other sample is there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from types import FrameType
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectd_cgacct import records
from collectd_cgacct.counters import Values
from collectd_cgacct.records import Book, Full, Journal, Kept, Line

WIDTH = 2
ROOM, LOG = 600, 4096
HEAD = 64
NAMES = st.text(st.characters(), max_size=200)  # lone surrogates too
LINES = st.lists(st.tuples(st.just("name"), NAMES, st.integers(0, 2**64 - 1)), max_size=5)


def new_book(room: int = ROOM, log: int = LOG) -> tuple[bytearray, Book]:
    memory = bytearray(Book.size(WIDTH, room, log))
    Book.begin(memory, room)
    return memory, Book(memory, WIDTH)


def commit(book: Book, lines: list[Line], readings: Mapping[int, Values], tail: int = 0) -> None:
    book.commit(Book.encode(lines), [*readings], [*readings.values()], tail)


def read(memory: bytearray) -> Kept:
    return Book(bytearray(memory), WIDTH).read()


def lists(lines: list[Line]) -> list[Line]:
    return [list(line) for line in lines]


@settings(max_examples=100, database=None, deadline=None)
@given(
    st.lists(
        st.tuples(
            LINES,
            st.dictionaries(
                st.integers(1, 2**64 - 1),
                st.tuples(*[st.integers(0, 2**64 - 1)] * WIDTH),
                max_size=9,
            ),
        ),
        max_size=5,
    )
)
def test_what_is_read_is_all_lines_and_the_last_readings(
    samples: list[tuple[list[Line], dict[int, Values]]],
) -> None:
    memory, book = new_book(log=1 << 18)
    told: list[Line] = []
    for number, (lines, readings) in enumerate(samples):
        commit(book, lines, readings, number)
        told += lists(lines)
        assert read(memory) == Kept(told, readings, number)


def test_thousands_of_readings_of_which_some_change_and_some_leave() -> None:
    memory, book = new_book()
    readings = {number: (number, number) for number in range(1, ROOM)}
    for number in (1, 255, 256, 257, 511, 599):
        readings[number] = (7, number)
        commit(book, [], readings)
        assert read(memory).readings == readings
        del readings[number]
        commit(book, [], readings)
        assert read(memory).readings == readings


@pytest.mark.parametrize("what", ["log", "readings"])
def test_what_has_no_room_changes_nothing(what: str) -> None:
    memory, book = new_book()
    commit(book, [["name", "n"]], {1: (2, 3)}, 5)
    before = read(memory)
    lines: list[Line] = [["name", "x" * LOG]] if what == "log" else []
    readings = {} if what == "log" else dict.fromkeys(range(ROOM + 1), (0, 0))
    with pytest.raises(Full):
        commit(book, lines, readings)
    assert read(memory) == before


def traced(run: Callable[[], object], after_each_line: Callable[[], object]) -> None:
    """Run ``run``; call ``after_each_line`` before each line of records.py that it comes to."""

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename != records.__file__:
            return None
        after_each_line()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)


def test_a_commit_that_is_cut_short_anywhere_is_the_sample_before_it_or_all_of_it() -> None:
    memory, book = new_book()
    moments: list[bytearray] = []
    states = []
    for number in range(4):
        lines: list[Line] = [["name", f"n{number}", number], ["member", number]]
        readings = {member: (number, member) for member in range(1, 300 + number)}
        traced(
            partial(commit, book, lines, readings, number),
            lambda: moments.append(bytearray(memory)),
        )
        states.append(read(memory))
    assert len({bytes(moment) for moment in moments}) > 4 * 5
    order = [Kept([], {}, 0), *states]
    found = [order.index(read(moment)) for moment in moments]
    assert sorted(set(found)) == [0, 1, 2, 3, 4]
    assert found == sorted(found)


def test_a_commit_over_one_that_was_cut_short_is_whole() -> None:
    memory, book = new_book()
    commit(book, [["name", "n"]], {1: (1, 1)})
    moments: list[bytearray] = []
    traced(
        lambda: commit(book, [["name", "cut short"]], {1: (2, 2), 2: (2, 2)}),
        lambda: moments.append(bytearray(memory)),
    )
    for moment in moments:
        before = Book(moment, WIDTH).read().lines
        commit(Book(moment, WIDTH), [["name", "m"]], {2: (5, 5)}, 9)
        assert read(moment) == Kept([*before, ["name", "m"]], {2: (5, 5)}, 9)


def new_journal(size: int) -> tuple[bytearray, Journal]:
    memory = bytearray(size)
    Journal.begin(memory)
    return memory, Journal(memory)


@settings(max_examples=200, database=None, deadline=None)
@given(
    st.integers(100, 500),
    st.lists(st.one_of(st.tuples(st.just("Removed"), NAMES), st.just("sample")), max_size=60),
)
def test_the_journal_keeps_what_was_told_since_the_last_sample(
    size: int, script: list[Any]
) -> None:
    memory, journal = new_journal(size)
    tail, told = 0, list[Line]()
    for step in script:
        if step == "sample":
            tail, told = journal.head, []
            journal.tail = tail
            continue
        before = journal.head
        if journal.append(step) != before:
            told.append(list(step))
        else:
            length = len(Book.encode([step]))
            assert journal.head - tail + length > size - HEAD, "there was room"
        assert list(Journal(bytearray(memory)).since(tail)) == told


def test_a_position_that_the_journal_does_not_have_yields_nothing() -> None:
    _, journal = new_journal(200)
    for _ in range(20):
        journal.tail = journal.append(["Removed", 1, [2, 3]])
    for tail in (0, journal.head + 1):
        assert list(journal.since(tail)) == []


@pytest.mark.parametrize("kind", [Journal, lambda memory: Book(memory, WIDTH)])
def test_memory_of_others_is_refused(kind: Callable[[bytearray], object]) -> None:
    with pytest.raises(ValueError, match="never written by us"):
        kind(bytearray(4096))
