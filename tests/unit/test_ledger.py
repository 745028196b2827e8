# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The ledger: monotonic, and equal to the truth, in any order of joins, reads and deaths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TypeVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectd_cgacct.ledger import LINGER_SECONDS, Ledger, MemberState, NameState


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(width=1, keep=2)


def total(ledger: Ledger, name: str, now: float = 0.0) -> int | None:
    values = dict(ledger.totals(now)).get(name)
    return None if values is None else values[0]


def test_a_name_never_seen_has_no_total(ledger: Ledger) -> None:
    assert list(ledger.totals(0)) == []


def test_members_of_one_name_are_summed(ledger: Ledger) -> None:
    for member, path in enumerate(("worker@1", "worker@2")):
        ledger.join(member, "worker", path)
        ledger.read(member, (23,))
    assert total(ledger, "worker") == 46


def test_a_dead_member_stays_in_the_sum(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.read(1, (23,))
    ledger.leave(1, now=0)
    ledger.join(2, "n", "a")
    ledger.read(2, (7,))
    assert total(ledger, "n") == 30


def test_an_older_reading_that_comes_late_changes_nothing(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.read(1, (23,))
    ledger.read(1, (11,))
    assert total(ledger, "n") == 23


def test_a_reading_of_a_member_that_left_changes_nothing(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.leave(1, now=0)
    ledger.read(1, (11,))
    assert total(ledger, "n") == 0


def test_a_member_below_another_adds_nothing(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.join(2, "n", "a/b/c")
    ledger.read(1, (23,))
    ledger.read(2, (11,))
    assert total(ledger, "n") == 23


def test_a_path_that_only_begins_alike_is_not_below(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.join(2, "n", "ab")
    ledger.join(3, "n", "a-b")
    for member in (1, 2, 3):
        ledger.read(member, (1,))
    assert total(ledger, "n") == 3


def test_the_root_is_above_all(ledger: Ledger) -> None:
    ledger.join(2, "n", "a")
    ledger.read(2, (5,))
    ledger.join(1, "n", "")
    ledger.read(1, (23,))
    ledger.read(2, (20,))
    assert total(ledger, "n") == 28


def test_other_names_below_are_not_covered(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.join(2, "m", "a/b")
    ledger.read(1, (23,))
    ledger.read(2, (11,))
    assert (total(ledger, "n"), total(ledger, "m")) == (23, 11)


def test_a_recreated_path_takes_the_place_of_the_old_one(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.read(1, (23,))
    ledger.join(2, "n", "a")
    ledger.read(2, (11,))
    assert total(ledger, "n") == 34


def test_an_idle_name_is_dispatched_for_five_minutes_more(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.read(1, (23,))
    ledger.leave(1, now=100)
    assert total(ledger, "n", 100 + LINGER_SECONDS) == 23
    assert total(ledger, "n", 101 + LINGER_SECONDS) is None


def test_a_name_goes_on_from_its_sum_when_it_comes_back(ledger: Ledger) -> None:
    ledger.join(1, "n", "a")
    ledger.read(1, (23,))
    ledger.leave(1, now=0)
    ledger.join(2, "n", "a")
    ledger.read(2, (1,))
    assert total(ledger, "n", 10 * LINGER_SECONDS) == 24


def test_the_oldest_idle_names_are_forgotten(ledger: Ledger) -> None:
    for member, name in enumerate("abc"):
        ledger.join(member, name, name)
        ledger.leave(member, now=member)
    assert ledger.forget() == ["a"]
    assert ledger.forget() == []
    assert set(dict(ledger.totals(2))) == {"b", "c"}


def test_a_restored_ledger_forgets_the_oldest_first_and_lingers_as_long(ledger: Ledger) -> None:
    for member, name in enumerate("abc"):
        ledger.join(member, name, name)
        ledger.leave(member, now=member * 100)
    restored = Ledger(width=1, keep=2)
    _, names = ledger.everything()
    states = {name: state for name, state in reversed(list(names)) if state}
    restored.restore({}, states, {})
    assert total(restored, "b", 100 + LINGER_SECONDS) == 0
    assert total(restored, "b", 101 + LINGER_SECONDS) is None
    assert restored.forget() == ["a"]
    assert dict(restored.changes().names)["a"] is None


PATHS = ("", "a", "a/b", "a/b/c", "a/d", "ab", "ab/c")
NAMES = ("n", "m")


def is_below(path: str, upper: str) -> bool:
    return path != upper and (upper == "" or path.startswith(upper + "/"))


Subject = TypeVar("Subject")
State = TypeVar("State")


def _apply(kept: dict[Subject, State], changes: Iterable[tuple[Subject, State | None]]) -> None:
    for subject, state in changes:
        kept.pop(subject, None)
        if state is not None:
            kept[subject] = state


class World:
    """A kernel of the simplest kind, the truth by name, and a ledger that watches it."""

    def __init__(self) -> None:
        self.ledger = Ledger(1, 100)
        # What is kept of it outside of the process.
        self.members: dict[int, MemberState] = {}
        self.names: dict[str, NameState] = {}
        self.live: dict[str, int] = {}
        self.name: dict[int, str] = {}
        self.path: dict[int, str] = {}
        self.count: dict[int, int] = {}
        self.truth: dict[str, int] = defaultdict(int)
        self.seen: dict[str, int] = defaultdict(int)
        self.next_id = 1

    def read(self, member: int) -> None:
        self.ledger.read(member, (self.count[member],))

    def sample(self, _path: str) -> None:
        for place, member in enumerate(self.ledger.ids):
            self.ledger.values[place] = (self.count[member],)
        self.ledger.noted()

    def join(self, path: str, name: str) -> None:
        if path in self.live:
            return
        # As the roster does, where an upper one arrives later.
        for other in [o for o in self.live if is_below(o, path)]:
            self.read(self.live[other])
        member, self.next_id = self.next_id, self.next_id + 1
        self.live[path] = member
        self.name[member], self.path[member], self.count[member] = name, path, 0
        self.truth[name] += 0
        self.ledger.join(member, name, path)

    def packets(self, path: str, number: int) -> None:
        above = [p for p in self.live if p == path or is_below(path, p)]
        for upper in above:
            self.count[self.live[upper]] += number
        for name in {self.name[self.live[upper]] for upper in above}:
            self.truth[name] += number

    def leave(self, path: str) -> None:
        member = self.live.pop(path, None)
        if member is None:
            return
        self.read(member)
        self.ledger.leave(member, now=0)
        for other in [o for o in self.live if is_below(o, path)]:
            self.read(self.live[other])

    def restart(self, _path: str) -> None:
        """Go on with another ledger, which knows what the first has told of its changes."""
        members, names = self.ledger.changes()
        _apply(self.members, members)
        _apply(self.names, names)
        assert (self.members, self.names) == tuple(map(dict, self.ledger.everything()))
        readings = dict(zip(self.ledger.ids, self.ledger.values))
        before = sorted(self.ledger.totals(0))
        self.ledger = Ledger(1, 100)
        self.ledger.restore(self.members, self.names, readings)
        assert sorted(self.ledger.totals(0)) == before
        self.ledger.changes()

    def rename(self, path: str, name: str) -> None:
        """Let a member count for another name from now on, as after a change of the rules."""
        member = self.live.get(path)
        related = [o for o in self.live if is_below(o, path) or is_below(path, o)]
        if member is None or related:
            return
        self.read(member)
        self.ledger.leave(member, now=0)
        self.name[member] = name
        self.truth[name] += 0
        self.ledger.join(member, name, path, (self.count[member],))

    def check(self, exact: bool) -> None:
        for name, (value,) in self.ledger.totals(0):
            assert value >= self.seen[name], "it went backwards"
            self.seen[name] = value
            if exact:
                assert value == self.truth[name]


steps = st.one_of(
    st.tuples(st.just("join"), st.sampled_from(PATHS), st.sampled_from(NAMES)),
    st.tuples(st.just("packets"), st.sampled_from(PATHS), st.integers(1, 1000)),
    st.tuples(st.just("leave"), st.sampled_from(PATHS)),
    st.tuples(st.just("read"), st.sampled_from(PATHS)),
    st.tuples(st.just("sample"), st.just("")),
    st.tuples(st.just("restart"), st.just("")),
    st.tuples(st.just("rename"), st.sampled_from(PATHS), st.sampled_from(NAMES)),
)


@settings(max_examples=300, database=None, deadline=None)
@given(st.lists(steps, max_size=40))
@example(
    [
        ("join", "", "n"),
        ("join", "a", "m"),
        ("join", "a/b", "n"),
        ("packets", "a/b", 1),
        ("leave", ""),
    ]
)
@example(
    [
        ("join", "a", "n"),
        ("join", "a/b/c", "n"),
        ("join", "a/b", "n"),
        ("packets", "a/b", 1),
        ("leave", "a"),
    ]
)
def test_any_order_of_joins_reads_and_deaths_is_monotonic_and_equals_the_truth(
    script: list[tuple[str, ...]],
) -> None:
    world = World()
    for verb, path, *rest in script:
        if verb == "read":
            if path in world.live:
                world.read(world.live[path])
        else:
            getattr(world, verb)(path, *rest)
        world.check(exact=False)
    for member in world.live.values():
        world.read(member)
    world.check(exact=True)


def test_a_restored_member_that_lost_its_cover_adds_what_comes_after_the_next_reading() -> None:
    ledger = Ledger(width=1, keep=2)
    ledger.join(1, "n", "a")
    ledger.join(2, "n", "a/b")
    ledger.read(1, (23,))
    ledger.read(2, (20,))
    ledger.leave(1, now=0)
    members, names = ledger.everything()
    restored = Ledger(width=1, keep=2)
    restored.restore(
        {one: state for one, state in members if state},
        {name: state for name, state in names if state},
        {2: (20,)},
    )
    restored.read(2, (22,))
    assert total(restored, "n") == 23
    restored.read(2, (25,))
    assert total(restored, "n") == 26
