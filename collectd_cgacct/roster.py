# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cgroups are attached: the listener of the watcher, and its thread's state.

What changes is put on a queue for the thread that reads. The two share no lock, so
that a new cgroup never waits for a read in progress.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Callable, Union

from .counters import Values
from .errors import OperationError
from .hierarchy import VANISHED, Cgroup, Hierarchy
from .links import Links
from .logs import OnChange
from .rules import RuleSet
from .text import quote

logger = logging.getLogger(__name__)

# kernfs counts the subdirectories on top.
_NLINK_OF_A_LEAF = 2

# No path begins with a slash.
_LIMIT, _DESCRIPTORS = "/limit", "/descriptors"


@dataclass(frozen=True)
class Attached:
    """A cgroup is counted from now on."""

    cgroup_id: int
    path: str
    raw_name: str
    # What its counters were before: not zero if an earlier run has let it go.
    since: Values | None = None


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

# Makes changes outlive this process; returns the position behind them.
Note = Callable[[Iterable[Change]], int]


class Roster:
    """Attaches to the cgroups that the rules name, ``limit`` names at most."""

    def __init__(
        self,
        hierarchy: Hierarchy,
        rules: RuleSet,
        links: Links,
        limit: int,
        note: Note,
    ) -> None:
        # Each with what ``note`` returned for it.
        self.changes: deque[tuple[Change, int]] = deque()
        self.errors = 0
        self._hierarchy = hierarchy
        self._rules = rules
        self._links = links
        self._counters = links.counters
        self._limit = limit
        self._note = note
        self._ids: dict[str, int] = {}
        self._name_of: dict[str, str] = {}
        self._names: Counter[str] = Counter()
        self._skipped: set[str] = set()
        self._failed: set[str] = set()
        # Until the first walk has ended: what an earlier run has counted, id by path.
        self._earlier: dict[str, int] = {}
        self._complaints = OnChange(logger)

    @property
    def skipped(self) -> int:
        """How many cgroups are not attached because of the limit."""
        return len(self._skipped)

    def adopt(self, members: Iterable[tuple[str, int]]) -> None:
        """Attach to what an earlier run has accounted, path and id, uppers first.

        To be called before the watcher is started, so that what is there goes before what
        is new if it comes to the limit.
        """
        members = list(members)
        for path, cgroup_id in members:
            if self._hierarchy.is_at(path, cgroup_id):
                self.appeared(path, cgroup_id)
        self._earlier = dict(members)

    @property
    def failed(self) -> frozenset[str]:
        """The paths of the cgroups that could not be attached, and may be later."""
        return frozenset(self._failed)

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
        if cgroup.id in self._links:
            # A second link of the same programs would count everything twice.
            self._tell(Revived(cgroup.id))
        else:
            self._attach(cgroup, name)
        self._enter(cgroup, name)

    def _attach(self, cgroup: Cgroup, name: str) -> None:
        late = self._earlier or cgroup.path in self._failed or cgroup.path in self._skipped
        lowers = self._lowers(cgroup, name) if late else []
        change = Attached(cgroup.id, cgroup.path, name, self._links.reading_before(cgroup.id))
        # Noted first: should this process be killed in between, the next one knows the links
        # that it finds. If it finds none, it passes over the note.
        before = self._note(self._read_all(lowers))
        after = self._note([change])
        self._links.attach(cgroup)
        # What the lowers carry between the attachment and this, some microseconds, is in
        # the readings of both.
        self.changes.extend((reading, before) for reading in self._read_all(lowers))
        self.changes.append((change, after))

    def _read_all(self, cgroup_ids: Iterable[int]) -> list[Reading]:
        return [Reading(*one) for one in self._counters.read_each(cgroup_ids)]

    def _tell(self, change: Change) -> None:
        self.changes.append((change, self._note([change])))

    def _enter(self, cgroup: Cgroup, name: str) -> None:
        self._ids[cgroup.path] = cgroup.id
        self._name_of[cgroup.path] = name
        self._names[name] += 1
        self._skipped.discard(cgroup.path)
        self._failed.discard(cgroup.path)
        self._complaints.end(cgroup.path, f"cgroup {quote(cgroup.path or '/')} is accounted now")

    def _lowers(self, upper: Cgroup, name: str) -> list[int]:
        # The walk and the events go from the top down: only a cgroup that could not be
        # attached at first, or that an earlier run did not account, can have others of its
        # name below it already.
        if os.fstat(upper.fd).st_nlink == _NLINK_OF_A_LEAF:
            return []
        prefix = upper.path + "/" if upper.path else ""
        return [
            cgroup_id
            for path, cgroup_id in (self._earlier | self._ids).items()
            if path.startswith(prefix) and (path in self._earlier or self._name_of[path] == name)
        ]

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
            self._complaints.begin_once(_DESCRIPTORS, str(error))
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
        self._tell(Removed(cgroup_id, self._counters.read_if_possible(cgroup_id)))

    def walked(self, paths: set[str]) -> bool:
        """Let go of all that the walk did not find; return whether to try again soon."""
        self._earlier = {}
        for path in [path for path in self._ids if path not in paths]:
            self.removed(path)
        self._skipped &= paths
        self._failed &= paths
        if not self._failed:
            self._complaints.end(_DESCRIPTORS, "there are descriptors for all cgroups again")
        if not self._skipped:
            self._complaints.end(_LIMIT, "all cgroups are within Limit again")
        return bool(self._failed or self._skipped)
