# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Joins the parts: start, reconcile, sample, stop.

Two threads: the watcher's, which attaches, and the caller's, which samples. What the
first does comes to the second by the queue of changes in the roster; there is no lock.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from .bpf import raise_limits
from .config import Config
from .continuity import load
from .counters import Values
from .errors import OperationError
from .hierarchy import Hierarchy
from .logs import OnChange
from .roster import Attached, Change, Removed, Revived, Roster
from .selection import rule_set
from .watcher import Watcher

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """What one reading found. ``seconds`` is how long it took, the rest are counts."""

    totals: list[tuple[str, Values]]
    cgroups: int
    instances: int
    skipped: int
    attach_errors: int
    read_errors: int
    seconds: float


class Accountant:
    """Accounts the cgroups that one Config names."""

    def __init__(self, config: Config) -> None:
        """Load the object; raises CgacctError if there is no cgroup2, or no right to load."""
        hierarchy = Hierarchy(config.cgroup_root)
        self._rules = rule_set(config, hierarchy)
        raise_limits(config.limit)
        self._object, self._kept = load(config)
        self.layout = self._object.layout
        self._counters = self._object.counters()
        self._links, self._ledger = self._kept.links, self._kept.ledger
        self._names = self._kept.names
        self._roster = Roster(hierarchy, self._rules, self._links, config.limit, self._kept.note)
        self._watcher = Watcher(hierarchy, self._roster)
        self._hierarchy = hierarchy
        self._read_errors = 0
        self._closed = False
        self._complaints = OnChange(logger)
        for change in self._kept.changes:
            self._take_note(change)
        # Behind what was taken from the roster.
        self._position = self._kept.position

    def _take_note(self, change: Change) -> None:
        """Take in what an earlier run has noted and not taken in itself."""
        if isinstance(change, Attached) and not self._links.is_found(change.cgroup_id):
            return  # it was killed before it had attached
        try:
            self._take(change)
        except Exception as error:
            logger.warning("a note of an earlier run is damaged, and passed over: %r", error)

    def start(self) -> None:
        """Attach to all cgroups that exist, and from now on to each that appears."""
        taken_over = self._take_over()
        self._watcher.start(self._settle)
        logger.info(
            "started: %d cgroups below %s, %d of them taken over",
            len(self._links),
            self._hierarchy.root,
            taken_over,
        )

    def _take_over(self) -> int:
        """Attach to what an earlier run has left in the ledger; return to how many."""
        members = self._ledger.live()
        self._release_names(members)
        self._roster.adopt(members)
        self._take_changes()
        return len(self._links)

    def _release_names(self, members: list[tuple[str, int]]) -> None:
        """Let go of the names that today's rules do not give their cgroups any more."""
        given: dict[str, bool] = {}
        for path, cgroup_id in members:
            name = self._ledger.name_of(cgroup_id) or ""
            same = self._rules.raw_name(path) == self._names.raw(name)
            given[name] = same or given.get(name, False)
        for name in (name for name, same in given.items() if not same):
            self._names.release(name)

    def _settle(self) -> None:
        """Let go of what was counted before, and is not any more; all is attached by now."""
        self._take_changes()
        failed = self._roster.failed
        for path, cgroup_id in self._ledger.live():
            if cgroup_id in self._links or path in failed:
                continue
            if self._hierarchy.is_at(path, cgroup_id):
                self._refresh([cgroup_id, *self._ledger.covered_by(cgroup_id)])
                self._ledger.let_go(cgroup_id, time.monotonic())
            else:
                self._ledger.remove(cgroup_id)
        # Before they are detached: those below them count for themselves from now on.
        self._kept.commit(self._position)
        if not failed:
            for cgroup_id in self._links.left() - set(self._ledger.ids):
                self._links.detach(cgroup_id)
        self._kept.remove_other_layouts()

    def _refresh(self, cgroup_ids: list[int]) -> None:
        for cgroup_id, values in self._counters.read_each(cgroup_ids):
            self._ledger.read(cgroup_id, values)

    def sample(self) -> Sample:
        """Read all counters; return each instance's cumulative totals."""
        begin = time.monotonic()
        self._take_changes()
        self._read()
        totals = self._ledger.totals(begin)
        for name in self._ledger.forget():
            self._names.release(name)
        self._kept.commit(self._position)
        return Sample(
            totals,
            len(self._ledger.ids),
            len(totals),
            self._roster.skipped,
            self._roster.errors,
            self._read_errors,
            time.monotonic() - begin,
        )

    def _take_changes(self) -> None:
        changes = self._roster.changes
        while changes:
            change, self._position = changes.popleft()
            self._take(change)

    def _take(self, change: Change) -> None:
        if isinstance(change, Attached):
            self._take_in(change)
        elif isinstance(change, Revived):
            self._ledger.revive(change.cgroup_id)
        elif change.values is not None:
            self._ledger.read(change.cgroup_id, change.values)
        if isinstance(change, Removed):
            self._ledger.remove(change.cgroup_id)

    def _take_in(self, change: Attached) -> None:
        cgroup_id, path, ledger = change.cgroup_id, change.path, self._ledger
        name = self._names.claim(change.raw_name)
        before = ledger.reading(cgroup_id)
        if before is None:
            ledger.join(cgroup_id, name, path, change.since)
            return
        # It was counted by an earlier run.
        now = self._counters.read_if_possible(cgroup_id) or before
        anew = any(map(int.__lt__, now, before))
        if ledger.name_of(cgroup_id) == name and ledger.path_of(cgroup_id) == path and not anew:
            ledger.revive(cgroup_id)
            return
        if not anew:
            # What came until now is the old name's.
            ledger.read(cgroup_id, now)
        self._refresh([*ledger.covered_by(cgroup_id), *ledger.below(name, path)])
        ledger.let_go(cgroup_id, time.monotonic())
        ledger.join(cgroup_id, name, path, None if anew else now)

    def _read(self) -> None:
        ledger = self._ledger
        unread = self._counters.read_into(ledger.ids, ledger.values)
        ledger.noted(unread)
        for cgroup_id in unread:
            self._read_again(cgroup_id)
        if not unread:
            self._complaints.end("read", "all counters can be read again")

    def _read_again(self, cgroup_id: int) -> None:
        try:
            values = self._counters.read(cgroup_id)
        except OperationError as error:
            self._read_errors += 1
            self._complaints.begin("read", str(error))
            return
        if values is None:
            # The kernel has freed the storage: what was read last was all.
            self._ledger.leave(cgroup_id, time.monotonic())
            self._links.detach(cgroup_id)
        else:
            self._ledger.read(cgroup_id, values)

    def close(self) -> None:
        """Stop watching, detach from all that is not pinned, free the object; twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._watcher.stop()
        self._take_changes()
        self._read()
        self._kept.commit(self._position)
        self._kept.close()
        self._object.close()
