# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Counters go on across restarts: what is in the kernel is taken over, and kept up to date.

The lines of the book, see records.py: what is known of a member or a name, or that it is no
more. The lines of the journal: what the roster has told.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from typing import Callable

from . import memory, pins
from .bpf import Object
from .config import Config
from .counters import Layout, Values
from .errors import CgacctError
from .ledger import Changes, Ledger, MemberState, NameState
from .links import Links
from .logs import NOTICE, OnChange
from .records import Book, Full, Journal, Line
from .roster import Attached, Change, Reading, Removed, Revived
from .rules import Names
from .text import quote

logger = logging.getLogger(__name__)

# Room for all that can be attached at a start, and for what comes and goes between two reads.
_JOURNAL, _JOURNAL_EACH = 1 << 20, 256
# A book has room for so many readings and octets of log at least, and for so many times
# what it begins with.
_READINGS, _LOG, _SPARE = 64, 1 << 14, 2
# Seconds that an owner of PinPath is given to end, one that is about to or that only has a look.
_PATIENCE = 1.0
# Seconds until a book that could not be made is tried again.
_RETRY = 60.0
# After so many lines another thread may run: the watcher's should not wait for all.
_BREATH = 64

_MEMBER, _NAME = "member", "name"
_CHANGES: dict[str, Callable[..., Change]] = {
    kind.__name__: kind for kind in (Attached, Reading, Removed, Revived)
}


class Transience:
    """Everything ends with the process.

    ``changes`` is what ``ledger`` has not taken in yet of an earlier one.
    """

    def __init__(self, bpf_object: Object, limit: int, directory: str = "") -> None:
        """``directory`` is for pins; raises OSError if it cannot be read."""
        self.ledger = Ledger(bpf_object.layout.fields, limit)
        self.names = Names()
        self.links = Links(bpf_object, directory)
        self.changes: list[Change] = []

    @property
    def position(self) -> int:
        """Behind all that was noted."""
        return 0

    def note(self, changes: Iterable[Change]) -> int:
        """Make changes outlive this process; return the position behind them. For the roster."""
        return self.position

    def commit(self, tail: int) -> None:
        """Keep the ledger, which has taken in what was noted up to the position ``tail``."""
        self.ledger.changes()

    def remove_other_layouts(self) -> None:
        """Remove what cannot be taken over, now that this layout counts; say so."""

    def close(self) -> None:
        """Let go of all that is not pinned; twice is fine."""
        self.links.close()


class Continuity(Transience):
    """What one layout's directory keeps goes on, for the owner of PinPath."""

    def __init__(
        self, owned: pins.PinDirectory, directory: str, bpf_object: Object, limit: int
    ) -> None:
        """Find what is there, or begin. Raises OSError; others for what is not ours."""
        super().__init__(bpf_object, limit, directory)
        self._owned = owned
        self._layout = bpf_object.layout
        self._directory = directory
        self._lost = False
        self._retry_at = 0.0
        # What is mapped, by the name of its pin.
        self._mapped: dict[str, mmap.mmap] = {}
        self._drop_unfinished()
        found = memory.find(self._path(pins.LEDGER))
        if found:
            self._book = self._open_book(found)
        journal = memory.find(self._path(pins.JOURNAL))
        if not journal:
            journal = self._new_journal(limit, self._book.tail if found else 0)
        self._mapped[pins.JOURNAL] = journal
        self._journal = Journal(journal)
        if not found:
            self._book = self._new_book([], [], [], self._journal.head)
        self.links.after_another = found is not None
        self._restore()
        self._complaints = OnChange(logger)
        # For the watcher's thread.
        self._complaints_of_notes = OnChange(logger)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _new_journal(self, limit: int, head: int) -> mmap.mmap:
        path, size = self._path(pins.JOURNAL), _JOURNAL + _JOURNAL_EACH * limit
        begin = functools.partial(Journal.begin, head=head)
        return memory.make(path, pins.MAP_NAMES[pins.JOURNAL], size, begin)

    def _new_book(
        self, lines: Iterable[Line], ids: list[int], readings: list[Values], tail: int
    ) -> Book:
        """Make a book that begins with a sample, and put it in the place of the old one."""
        width = self._layout.fields
        data = Book.encode(_breathing(lines))
        room = max(_READINGS, _SPARE * len(ids))
        size = Book.size(width, room, max(_LOG, _SPARE * len(data)))

        def fill(new: mmap.mmap) -> None:
            Book.begin(new, room)
            Book(new, width).commit(data, ids, readings, tail)

        path = self._path(pins.LEDGER_NEW)
        self._drop_unfinished()
        new = memory.make(path, pins.MAP_NAMES[pins.LEDGER], size, fill)
        os.rename(path, self._path(pins.LEDGER))
        return self._open_book(new)

    def _open_book(self, mapped: mmap.mmap) -> Book:
        self._mapped[pins.LEDGER] = mapped
        self._inode = os.stat(self._path(pins.LEDGER)).st_ino
        return Book(mapped, self._layout.fields)

    @property
    def position(self) -> int:
        return self._journal.head

    def note(self, changes: Iterable[Change]) -> int:
        for change in () if self._lost else changes:
            # One that is known is looked at anew at each start.
            if not isinstance(change, Attached) or not self.ledger.name_of(change.cgroup_id):
                self._note(change)
        return self._journal.head

    def _note(self, change: Change) -> None:
        before = self._journal.head
        if self._journal.append([type(change).__name__, *vars(change).values()]) == before:
            self._complaints_of_notes.begin(
                "journal",
                "more cgroups come and go between two reads than can be noted: should collectd be "
                "killed, the last bytes of some are missing; read more often: Interval",
            )

    def _drop_unfinished(self) -> None:
        """Remove the book that a kill, or a failure, has kept from its place."""
        pins.remove(self._directory, pins.LEDGER_NEW)

    def _restore(self) -> None:
        kept = self._book.read()
        members: dict[int, MemberState] = {}
        states: dict[str, NameState] = {}
        raws: dict[str, str] = {}
        for kind, subject, *state in kept.lines:
            if kind == _MEMBER:
                members.pop(subject, None)
                if state:
                    state[-1] = state[-1] and tuple(state[-1])
                    members[subject] = MemberState(*state)
            else:
                states.pop(subject, None)
                if state:
                    raws[subject], folded, idle_since = state
                    states[subject] = NameState(tuple(folded), idle_since)
        for name in states:
            self.names.hold(raws[name], name)
        self.ledger.restore(members, states, kept.readings)
        self.ledger.changes()
        self.changes = [
            _CHANGES[name](*(tuple(f) if isinstance(f, list) else f for f in fields))
            for name, *fields in self._journal.since(kept.tail)
        ]

    def commit(self, tail: int) -> None:
        if self._lost or not self._is_there():
            self.ledger.changes()
            return
        if self._retry_at:
            self._rebuild(tail)
            return
        lines = Book.encode(_lines(self.ledger.changes(), self.names))
        try:
            self._book.commit(lines, self.ledger.ids, self.ledger.values, tail)
        except Full:
            self._rebuild(tail)
        else:
            self._journal.tail = tail

    def _is_there(self) -> bool:
        """Notice if the pins were removed, by a purge --force say, or PinPath is not there."""
        if self._owned.has(self._path(pins.LEDGER), self._inode):
            return True
        self._lost = True
        self.links.stop_pinning()
        logger.warning(
            "the pins in %s were removed: what was attached by then may count no more, and nothing "
            "is kept for the next start; restart collectd",
            quote(self._directory),
        )
        return False

    def _rebuild(self, tail: int) -> None:
        now = time.monotonic()
        if now < self._retry_at:
            self.ledger.changes()  # everything() will tell all of them
            return
        try:
            everything = _lines(self.ledger.everything(), self.names)
            self._book = self._new_book(everything, self.ledger.ids, self.ledger.values, tail)
        except OSError as error:
            self._retry_at = now + _RETRY
            self._complaints.begin(
                "book",
                f"cannot keep the counters in {quote(self._directory)}: {error.strerror}; "
                "should collectd be restarted now, dead cgroups of late would be missing",
            )
        else:
            self._retry_at = 0.0
            self._journal.tail = tail
            self._complaints.end("book", "the counters are kept again")

    def remove_other_layouts(self) -> None:
        replaced = []
        try:
            for path in self._owned.others(self._layout):
                # What strangers have put there stays, and is no counters.
                if pins.remove_layout(path):
                    replaced.append(os.path.basename(path))
        except (OSError, CgacctError) as error:
            logger.warning("cannot remove the pins of another layout: %s", error)
        if replaced:
            logger.log(
                NOTICE,
                "counters restart from zero: those that were kept had another layout (%s, now %s)",
                ", ".join(replaced),
                pins.layout_name(self._layout),
            )

    def close(self) -> None:
        super().close()
        while self._mapped:
            self._mapped.popitem()[1].close()
        self._owned.close()


def _lines(changes: Changes, names: Names) -> Iterator[Line]:
    for member_id, member in changes.members:
        yield (_MEMBER, member_id, *(member or ()))
    for name, state in changes.names:
        yield (_NAME, name, names.raw(name), *state) if state else (_NAME, name)


def _breathing(lines: Iterable[Line]) -> Iterator[Line]:
    for number, line in enumerate(lines):
        if number % _BREATH == 0:
            time.sleep(0)
        yield line


def load(config: Config) -> tuple[Object, Transience]:
    """Load the object; with ``Persist`` on what an earlier run has left, if that is possible."""
    if not config.persist:
        if config.pin_path:
            _clean_up(config.pin_path)
        return _load_transient(config)
    try:
        return _load_pinned(config)
    except CgacctError as error:
        loaded = _load_transient(config)
        if isinstance(error, pins.Held):
            level, mend = NOTICE, "end that, or give this instance a PinPath of its own; "
        else:
            level, mend = logging.WARNING, ""
        if not isinstance(error, pins.PinError):
            error = pins.PinError(config.pin_path, str(error))
        logger.log(level, "%s; %suntil collectd is restarted it counts without pins", error, mend)
        return loaded


def _load_transient(config: Config) -> tuple[Object, Transience]:
    loaded = Object(config.bpf_object, config.splits)
    return loaded, Transience(loaded, config.limit)


def _load_pinned(config: Config) -> tuple[Object, Continuity]:
    with contextlib.ExitStack() as undo:
        owned = pins.PinDirectory(config.pin_path, _PATIENCE)
        undo.callback(owned.close)
        directory = owned.make(Layout(config.splits))
        loaded = Object(config.bpf_object, config.splits, os.path.join(directory, pins.COUNTERS))
        undo.callback(loaded.close)
        try:
            with pins.using(config.pin_path):
                kept = Continuity(owned, directory, loaded, config.limit)
        except CgacctError:
            raise
        except Exception as error:
            why = (
                f"what is pinned there is not ours, or damaged ({error}); see collectd-cgacct purge"
            )
            raise pins.PinError(directory, why) from error
        undo.pop_all()
    return loaded, kept


def _clean_up(path: str) -> None:
    try:
        pins.purge(path)
    except CgacctError as error:
        logger.log(NOTICE, "%s; what is pinned there stays", error)
