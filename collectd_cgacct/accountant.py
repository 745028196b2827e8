# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Joins the parts: start, reconcile, sample, stop.

Two threads: the watcher's, which attaches, and the caller's, which samples. They
share the queue of changes in the roster, and nothing else.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from .bpf import Link, Object, raise_limits
from .config import Config
from .counters import Values
from .errors import OperationError
from .hierarchy import Hierarchy
from .ledger import Ledger
from .logs import OnChange
from .roster import Attached, Removed, Revived, Roster
from .rules import Names
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
        rules = rule_set(config, hierarchy)
        raise_limits(config.limit)
        self._object = Object(config.bpf_object, config.splits)
        self.layout = self._object.layout
        self._counters = self._object.counters()
        self._roster = Roster(hierarchy, rules, self._object, config.limit)
        self._watcher = Watcher(hierarchy, self._roster)
        self._root = hierarchy.root
        self._ledger = Ledger(self.layout.fields, config.limit)
        self._names = Names()
        self._links: dict[int, Link] = {}
        self._read_errors = 0
        self._complaints = OnChange(logger)

    def start(self) -> None:
        """Attach to all cgroups that exist, and from now on to each that appears."""
        self._watcher.start()
        logger.info("started: %d cgroups below %s", len(self._roster.changes), self._root)

    def sample(self) -> Sample:
        """Read all counters; return each instance's cumulative totals."""
        begin = time.monotonic()
        self._take_changes()
        self._read()
        totals = self._ledger.totals(begin)
        for name in self._ledger.forget():
            self._names.release(name)
        return Sample(
            totals,
            len(self._links),
            len(totals),
            self._roster.skipped,
            self._roster.errors,
            self._read_errors,
            time.monotonic() - begin,
        )

    def _take_changes(self) -> None:
        changes = self._roster.changes
        while changes:
            change = changes.popleft()
            if isinstance(change, Attached):
                name = self._names.claim(change.raw_name)
                self._ledger.join(change.cgroup_id, name, change.path)
                self._links[change.cgroup_id] = change.link
                continue
            if isinstance(change, Revived):
                self._ledger.revive(change.cgroup_id)
                continue
            if change.values is not None:
                self._ledger.read(change.cgroup_id, change.values)
            if isinstance(change, Removed):
                self._ledger.remove(change.cgroup_id)

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
            self._links.pop(cgroup_id).close()
            self._roster.held.discard(cgroup_id)
        else:
            self._ledger.read(cgroup_id, values)

    def close(self) -> None:
        """Stop watching, detach from all and free the object; twice is fine."""
        self._watcher.stop()
        self._take_changes()
        for link in self._links.values():
            link.close()
        self._links.clear()
        self._object.close()
