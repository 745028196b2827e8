# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cgroups are attached: the listener of the watcher, and its thread's state.

What changes is put on a queue for the thread that reads. The two share no lock, so
that a new cgroup never waits for a read in progress.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter, deque
from dataclasses import dataclass
from typing import Union

from .bpf import CounterMap, Link, Object
from .counters import Values
from .errors import OperationError
from .hierarchy import VANISHED, Cgroup, Hierarchy
from .logs import OnChange
from .rules import RuleSet
from .text import quote

logger = logging.getLogger(__name__)

# No path begins with a slash.
_LIMIT, _DESCRIPTORS = "/limit", "/descriptors"


@dataclass(frozen=True)
class Attached:
    """A cgroup is counted from now on."""

    cgroup_id: int
    path: str
    raw_name: str
    link: Link


@dataclass(frozen=True)
class Removed:
    """A counted cgroup's directory is gone; ``values`` is what it had counted by then."""

    cgroup_id: int
    values: Values | None


@dataclass(frozen=True)
class Reading:
    """What a cgroup had counted when another one above it, of the same name, was attached."""

    cgroup_id: int
    values: Values


@dataclass(frozen=True)
class Revived:
    """A cgroup that was said to be removed is there, and was counted all the time."""

    cgroup_id: int


Change = Union[Attached, Reading, Removed, Revived]


class Roster:
    """Attaches to the cgroups that the rules name, ``limit`` names at most."""

    def __init__(
        self, hierarchy: Hierarchy, rules: RuleSet, bpf_object: Object, limit: int
    ) -> None:
        self.changes: deque[Change] = deque()
        self.errors = 0
        # The ids that have a link. Whoever closes it takes the id out.
        self.held: set[int] = set()
        self._hierarchy = hierarchy
        self._rules = rules
        self._object = bpf_object
        self._counters: CounterMap = bpf_object.counters(capacity=1)
        self._limit = limit
        self._ids: dict[str, int] = {}
        self._name_of: dict[str, str] = {}
        self._names: Counter[str] = Counter()
        self._skipped: set[str] = set()
        self._failed: set[str] = set()
        self._complaints = OnChange(logger)

    @property
    def skipped(self) -> int:
        """How many cgroups are not attached because of the limit."""
        return len(self._skipped)

    def relevant_below(self, path: str) -> bool:
        """Return whether a cgroup below ``path`` can be one to account."""
        return self._rules.may_match_below(path)

    def appeared(self, path: str, cgroup_id: int) -> None:
        """Attach to the cgroup at ``path`` if a rule names it and it is not attached yet."""
        if cgroup_id and self._ids.get(path) == cgroup_id:
            return
        name = self._rules.raw_name(path)
        if name is None:
            return
        try:
            with self._hierarchy.open(path) as cgroup:
                self._admit(cgroup, name)
        except OperationError as error:
            if error.errno not in VANISHED:
                self._fail(path, error)

    def _admit(self, cgroup: Cgroup, name: str) -> None:
        if self._ids.get(cgroup.path) == cgroup.id:
            return
        self._lost(cgroup.path)
        if name not in self._names and len(self._names) >= self._limit:
            self._skip(cgroup.path)
            return
        if cgroup.id in self.held:
            # A second link of the same programs would count everything twice.
            self.changes.append(Revived(cgroup.id))
            self._enter(cgroup, name)
            return
        link = self._object.attach(cgroup.fd, quote(cgroup.path or "/"))
        if cgroup.path in self._failed or cgroup.path in self._skipped:
            self._read_below(cgroup.path, name)
        self.changes.append(Attached(cgroup.id, cgroup.path, name, link))
        self.held.add(cgroup.id)
        self._enter(cgroup, name)

    def _enter(self, cgroup: Cgroup, name: str) -> None:
        self._ids[cgroup.path] = cgroup.id
        self._name_of[cgroup.path] = name
        self._names[name] += 1
        self._skipped.discard(cgroup.path)
        self._failed.discard(cgroup.path)
        self._complaints.end(cgroup.path, f"cgroup {quote(cgroup.path or '/')} is accounted now")

    def _read_below(self, path: str, name: str) -> None:
        # The walk and the events go from the top down: only a cgroup that could not be
        # attached at first can have others of its name below it already. What those carry
        # between the attachment and this, some microseconds, is in both readings.
        prefix = path + "/" if path else ""
        for other, cgroup_id in self._ids.items():
            if other.startswith(prefix) and self._name_of[other] == name:
                values = self._read(cgroup_id)
                if values is not None:
                    self.changes.append(Reading(cgroup_id, values))

    def _read(self, cgroup_id: int) -> Values | None:
        try:
            return self._counters.read(cgroup_id)
        except OperationError:
            # The reader tries again, and counts and reports the error.
            return None

    def _skip(self, path: str) -> None:
        if not self._skipped:
            self._complaints.begin(
                _LIMIT,
                f"more than {self._limit} instances: further cgroups are not accounted, "
                f"{quote(path)} among them; raise Limit, or join cgroups by an Instance template",
            )
        self._skipped.add(path)

    def _fail(self, path: str, error: OperationError) -> None:
        self.errors += 1
        self._failed.add(path)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            # One line for all: it is not the cgroup's fault.
            if not self._complaints.has(_DESCRIPTORS):
                self._complaints.begin(_DESCRIPTORS, str(error))
        else:
            self._complaints.begin(path, str(error))

    def removed(self, path: str) -> None:
        """Read the last counters of the cgroup that was at ``path``."""
        self._skipped.discard(path)
        self._failed.discard(path)
        # By the time the event is read, another cgroup may have been made and attached.
        if path not in self._ids:
            self._complaints.forget(path)
        elif not self._hierarchy.is_at(path, self._ids[path]):
            self._lost(path)

    def _lost(self, path: str) -> None:
        cgroup_id = self._ids.pop(path, None)
        if cgroup_id is None:
            return
        name = self._name_of.pop(path)
        self._names[name] -= 1
        if not self._names[name]:
            del self._names[name]
        self._complaints.forget(path)
        self.changes.append(Removed(cgroup_id, self._read(cgroup_id)))

    def walked(self, paths: set[str]) -> bool:
        """Let go of all that the walk did not find; return whether to try again soon."""
        for path in [path for path in self._ids if path not in paths]:
            self.removed(path)
        self._skipped &= paths
        self._failed &= paths
        if not self._failed:
            self._complaints.end(_DESCRIPTORS, "there are descriptors for all cgroups again")
        if not self._skipped:
            self._complaints.end(_LIMIT, "all cgroups are within Limit again")
        return bool(self._failed or self._skipped)
