# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Totals by name, over cgroups that come and go: they never go backwards. Pure.

A member is a cgroup; its readings are its counters since it was attached. Within one
name a packet is counted once: a member below another one of that name is covered, and
adds nothing for as long as it is.

Members stand in a table, so that thousands are read at once. Most are *plain*: the only
one of their name, with nothing else to add. The total of a plain one is its reading.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import add, itemgetter, sub
from typing import Any, NamedTuple

from .counters import Values

# How long a name without cgroups is still dispatched, so that downstream sees its last bytes.
LINGER_SECONDS = 300.0


_FIRST: Any = itemgetter(0)


class MemberState(NamedTuple):
    """What is known of a member besides its reading.

    ``live`` unless its directory is gone; ``covered_by`` is another member, or None;
    ``uncovered`` the reading when it lost its cover, until there is a new one.
    """

    name: str
    path: str
    live: bool
    covered_by: int | None
    uncovered: Values | None


class NameState(NamedTuple):
    """What to add to the readings of a name's members, and since when it has none."""

    folded: Values
    idle_since: float | None


class Changes(NamedTuple):
    """The states of members and names, as they are asked for; None for what is no more."""

    members: Iterator[tuple[int, MemberState | None]]
    names: Iterator[tuple[str, NameState | None]]


class _Member:
    __slots__ = ("covered_by", "name", "path", "place")

    def __init__(self, name: str, path: str, place: int, covered_by: int | None) -> None:
        self.name = name
        self.path = path
        self.place = place
        self.covered_by = covered_by


class _Series:
    __slots__ = ("folded", "idle_since", "members", "paths")

    def __init__(self, folded: Values, idle_since: float = 0.0) -> None:
        # What to add to the readings of the members that are not covered: what the dead
        # have counted, and what a member counted before and while it was covered.
        self.folded = folded
        self.members: dict[int, _Member] = {}
        # Sorted, so that those below a path are neighbours. The removed are not in it.
        self.paths: list[str] = []
        self.idle_since = idle_since

    def below(self, path: str) -> Iterator[str]:
        prefix = path + "/" if path else ""
        for index in range(bisect_left(self.paths, prefix), len(self.paths)):
            if not self.paths[index].startswith(prefix):
                return
            if self.paths[index] != path:
                yield self.paths[index]


class Ledger:
    """Keeps the totals. ``width`` is the length of a reading.

    ``ids`` and ``values`` are two columns of the table: write the readings of ``ids`` to
    the same places of ``values``, then call noted(). At most ``keep`` names are remembered:
    of those without cgroups, the oldest are forgotten first.
    """

    def __init__(self, width: int, keep: int) -> None:
        self.ids: list[int] = []
        self.values: list[Values] = []
        # The name if the member is plain, else None.
        self._plain: list[str | None] = []
        self._zero: Values = (0,) * width
        self._keep = keep
        self._members: dict[int, _Member] = {}
        self._live: dict[str, int] = {}
        self._active: dict[str, _Series] = {}
        self._composite: dict[str, _Series] = {}
        self._idle: OrderedDict[str, _Series] = OrderedDict()
        # Who covers whom.
        self._covers: dict[int, set[int]] = {}
        # Members that lost their cover, with the reading that they had then.
        self._uncovered: dict[int, Values] = {}
        # What has changed, besides readings, since changes() was asked last.
        self._changed_members: set[int] = set()
        self._changed_names: set[str] = set()

    def join(self, member_id: int, name: str, path: str, since: Values | None = None) -> None:
        """Take in a cgroup that counts from the reading ``since`` on, by default from zero."""
        if path in self._live:
            self.remove(self._live[path])
        series = self._active.get(name)
        if series is None:
            series = self._idle.pop(name, None) or _Series(self._zero)
            self._active[name] = series
        cover = self._cover(name, path)
        for lower in series.below(path):
            self._put_under(series, self._live[lower], member_id)
        since = since or self._zero
        if cover is None:
            series.folded = tuple(map(sub, series.folded, since))
        self._insert(member_id, _Member(name, path, len(self.ids), cover), since)
        self._set_live(member_id)

    def _insert(self, member_id: int, member: _Member, reading: Values) -> None:
        series = self._active[member.name]
        self._members[member_id] = series.members[member_id] = member
        if member.covered_by is not None:
            self._covers.setdefault(member.covered_by, set()).add(member_id)
        self.ids.append(member_id)
        self.values.append(reading)
        self._plain.append(None)
        self._changed_members.add(member_id)
        self._sort_out(member.name, series)

    def _set_live(self, member_id: int) -> None:
        member = self._members[member_id]
        self._live[member.path] = member_id
        insort(self._active[member.name].paths, member.path)
        self._changed_members.add(member_id)

    def _cover(self, name: str, path: str) -> int | None:
        while path:
            path = path.rpartition("/")[0]
            member_id = self._live.get(path)
            if member_id is not None and self._members[member_id].name == name:
                return member_id
        return None

    def _put_under(self, series: _Series, lower_id: int, upper_id: int) -> None:
        lower = self._members[lower_id]
        if lower.covered_by is None:
            self._let_go(series, lower_id, lower)
            lower.covered_by = upper_id
            self._changed_members.add(lower_id)
            self._covers.setdefault(upper_id, set()).add(lower_id)

    def _let_go(self, series: _Series, member_id: int, member: _Member) -> None:
        """Keep what the member has added until now, when it is about to add no more."""
        self._uncovered.pop(member_id, None)
        if member.covered_by is None:
            series.folded = tuple(map(add, series.folded, self.values[member.place]))

    def _sort_out(self, name: str, series: _Series) -> None:
        """Note that ``name`` has changed, and whether its members are plain now."""
        self._changed_names.add(name)
        if len(series.members) > 2:
            return  # nor were they plain when they were fewer by one, or more
        plain = len(series.members) == 1 and series.folded == self._zero
        for member in series.members.values():
            self._plain[member.place] = name if plain and member.covered_by is None else None
        if plain or not series.members:
            self._composite.pop(name, None)
        else:
            self._composite[name] = series

    def read(self, member_id: int, values: Values) -> None:
        """Note one member's reading. An older one that comes late does no harm."""
        member = self._members.get(member_id)
        if member is not None:
            self.values[member.place] = tuple(map(max, values, self.values[member.place]))
            self._leave_out(member_id, member)

    def noted(self, unread: Collection[int] = ()) -> None:
        """Note that the table has new readings, but for the ids in ``unread``."""
        for member_id in self._uncovered.keys() - unread:
            self._leave_out(member_id, self._members[member_id])

    def _leave_out(self, member_id: int, member: _Member) -> None:
        """Let a member that lost its cover add only what comes after this reading."""
        before = self._uncovered.pop(member_id, None)
        if before is not None:
            self._changed_members.add(member_id)
            # What came until now, the cover has counted.
            come = map(sub, self.values[member.place], before)
            series = self._active[member.name]
            series.folded = tuple(map(sub, series.folded, come))
            self._sort_out(member.name, series)

    def remove(self, member_id: int) -> None:
        """Note that a member's directory is gone. It stays, and may be read, until leave()."""
        member = self._members.get(member_id)
        if member and self._live.get(member.path) == member_id:
            self._changed_members.add(member_id)
            del self._live[member.path]
            paths = self._active[member.name].paths
            del paths[bisect_left(paths, member.path)]

    def revive(self, member_id: int) -> None:
        """Note that a member's directory is there after all."""
        member = self._members.get(member_id)
        if member and member.path not in self._live:
            self._set_live(member_id)

    def leave(self, member_id: int, now: float) -> None:
        """Fold a member's last reading into the sum of its name, and let it go."""
        self.remove(member_id)
        self._changed_members.add(member_id)
        member = self._members.pop(member_id)
        series = self._active[member.name]
        del series.members[member_id]
        self._let_go(series, member_id, member)
        if member.covered_by is not None:
            self._covers[member.covered_by].discard(member_id)
        self._close_gap(member.place)
        for lower_id in self._covers.pop(member_id, ()):
            self._uncover(series, lower_id)
        if not series.members:
            self._idle[member.name] = self._active.pop(member.name)
            series.idle_since = now
        self._sort_out(member.name, series)

    def let_go(self, member_id: int, now: float) -> None:
        """As leave(), of a member that lives on: whom it covered counts from its reading on.

        Those must have been read just now.
        """
        lowers = self.covered_by(member_id)
        self.leave(member_id, now)
        for lower_id in lowers:
            self._uncovered.pop(lower_id, None)

    def _close_gap(self, place: int) -> None:
        last_id, last_values, last_plain = self.ids.pop(), self.values.pop(), self._plain.pop()
        if place < len(self.ids):
            self.ids[place], self.values[place] = last_id, last_values
            self._plain[place] = last_plain
            self._members[last_id].place = place

    def _uncover(self, series: _Series, lower_id: int) -> None:
        lower = self._members[lower_id]
        self._changed_members.add(lower_id)
        lower.covered_by = self._cover(lower.name, lower.path)
        if lower.covered_by is not None:
            self._covers.setdefault(lower.covered_by, set()).add(lower_id)
        else:
            reading = self._uncovered[lower_id] = self.values[lower.place]
            series.folded = tuple(map(sub, series.folded, reading))

    def totals(self, now: float) -> list[tuple[str, Values]]:
        """Return name and total of all names with cgroups, or with some until lately."""
        totals = [(name, self._total(series)) for name, series in self._composite.items()]
        # A pair is taken as it is: to make another would cost as much as the rest.
        totals += filter(_FIRST, zip(self._plain, self.values))
        totals += [
            (name, series.folded)
            for name, series in self._idle.items()
            if now - series.idle_since <= LINGER_SECONDS
        ]
        return totals

    def _total(self, series: _Series) -> Values:
        members = series.members.values()
        readings = [self.values[m.place] for m in members if m.covered_by is None]
        return tuple(map(sum, zip(series.folded, *readings)))

    def forget(self) -> list[str]:
        """Forget the oldest names without cgroups beyond what is kept; return them."""
        excess = min(len(self._active) + len(self._idle) - self._keep, len(self._idle))
        forgotten = [self._idle.popitem(last=False)[0] for _ in range(excess)]
        self._changed_names.update(forgotten)
        return forgotten

    def name_of(self, member_id: int) -> str | None:
        """Return the name that a member counts for, None if it is none."""
        member = self._members.get(member_id)
        return None if member is None else member.name

    def path_of(self, member_id: int) -> str | None:
        """Return where a member is, None if it is none."""
        member = self._members.get(member_id)
        return None if member is None else member.path

    def covered_by(self, member_id: int) -> list[int]:
        """Return the members that add nothing because of this one."""
        return list(self._covers.get(member_id, ()))

    def below(self, name: str, path: str) -> list[int]:
        """Return the members of ``name`` whose directories are below ``path``."""
        series = self._active.get(name)
        return [self._live[lower] for lower in series.below(path)] if series else []

    def reading(self, member_id: int) -> Values | None:
        """Return the last reading of a member, None if it is none."""
        member = self._members.get(member_id)
        return None if member is None else self.values[member.place]

    def live(self) -> list[tuple[str, int]]:
        """Return path and id of all members whose directories are there, sorted."""
        return sorted(self._live.items())

    def changes(self) -> Changes:
        """Return what has changed, besides readings, since the last call."""
        changes = self._states(self._changed_members, self._changed_names)
        self._changed_members, self._changed_names = set(), set()
        return changes

    def everything(self) -> Changes:
        """Return all that there is besides readings, and the last call."""
        self._changed_members, self._changed_names = set(), set()
        return self._states(self._members, [*self._active, *self._idle])

    def _states(self, members: Iterable[int], names: Iterable[str]) -> Changes:
        return Changes(
            ((member_id, self._member_state(member_id)) for member_id in members),
            ((name, self._name_state(name)) for name in names),
        )

    def _member_state(self, member_id: int) -> MemberState | None:
        member = self._members.get(member_id)
        if member is None:
            return None
        live = self._live.get(member.path) == member_id
        uncovered = self._uncovered.get(member_id)
        return MemberState(member.name, member.path, live, member.covered_by, uncovered)

    def _name_state(self, name: str) -> NameState | None:
        series = self._active.get(name)
        if series is not None:
            return NameState(series.folded, None)
        series = self._idle.get(name)
        return None if series is None else NameState(series.folded, series.idle_since)

    def restore(
        self,
        members: Mapping[int, MemberState],
        names: Mapping[str, NameState],
        readings: Mapping[int, Values],
    ) -> None:
        """Become what everything() of another ledger has told; this one must be new."""
        idle = [(name, state) for name, state in names.items() if state.idle_since is not None]
        for name, state in sorted(idle, key=lambda one: one[1].idle_since or 0.0):
            self._idle[name] = _Series(state.folded, state.idle_since or 0.0)
        for name, state in names.items():
            if state.idle_since is None:
                self._active[name] = _Series(state.folded)
        for member_id, one in members.items():
            member = _Member(one.name, one.path, len(self.ids), one.covered_by)
            self._insert(member_id, member, readings.get(member_id, self._zero))
            if one.live:
                self._set_live(member_id)
            if one.uncovered is not None:
                self._uncovered[member_id] = one.uncovered
