# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A SIGKILL before and after each call that changes something: the next start comes up right.

The calls are counted in a process of the test's own, which wraps them; for each number the
same scene is played, until the process survives it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectd_cgacct import pins as pin_files
from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config
from collectd_cgacct.pins import purge
from tests.support.bpffs import attached, links, temporary_bpffs, tree
from tests.support.cgroups import Cgroup, temporary_cgroup, wait_for
from tests.support.plugin import accounting, config, doomed, totals
from tests.support.traffic import datagrams

BEFORE = {
    "app": "app",
    "job-*": "jobs",
    "old": "old",
    "moved": "before",
    # A cgroup above another of the same name counts for both: one is new, one leaves.
    "above-1/low": "one",
    "above-2": "two",
    "above-2/low": "two",
}
AFTER = {
    "app": "app",
    "job-*": "jobs",
    "new": "new",
    "moved": "after",
    "above-1": "one",
    "above-1/low": "one",
    "above-2/low": "two",
}
# What AFTER lets go.
LET_GO = ("old", "above-2")
MAPS = ("counters", "ledger", "journal")


class Scene:
    """Cgroups, what they sent by name, and the pins."""

    def __init__(self, top: Cgroup, sink: Cgroup, pins: Path) -> None:
        self.top, self.sink, self.pins = top, sink, pins
        self.truth: dict[str, int] = defaultdict(int)
        self.cgroups: dict[str, Cgroup] = {}

    def make(self, *names: str) -> None:
        for name in names:
            upper, _, last = name.rpartition("/")
            self.cgroups[name] = self.cgroups.get(upper, self.top).child(last)

    def send(self, cgroup: str, name: str, count: int = 23) -> None:
        self.truth[name] += datagrams(self.cgroups[cgroup], self.sink, count=count).octets

    def remove(self, name: str) -> None:
        self.cgroups.pop(name).remove()

    def config(self, rules: dict[str, str]) -> Config:
        return config(self.top, self.pins, rules)

    def earlier_run(self) -> None:
        """Leave what a run with other rules leaves; some traffic comes after its end."""
        self.make("app", "job-1", "job-2", "job-3", "old", "moved")
        self.make("above-1", "above-1/low", "above-2", "above-2/low")
        with accounting(self.config(BEFORE)) as accountant:
            for name in ("job-1", "job-2", "job-3"):
                self.send(name, "jobs", 7)
            totals(accountant)
            self.send("moved", "before")
            self.send("old", "old")
            self.send("app", "app")
            self.send("above-1/low", "one")
            self.send("above-2/low", "two")
            # A dead one is in the sum that is kept.
            self.remove("job-3")
            wait_for(lambda: totals(accountant) and accountant.sample().cgroups == 8, "its end")
        for name, cgroup in {
            "jobs": "job-1",
            "before": "moved",
            "old": "old",
            "app": "app",
            "one": "above-1/low",
            "two": "above-2/low",
        }.items():
            self.send(cgroup, name, 11)
        # Idle since the last sample, and gone.
        self.remove("job-2")
        self.make("job-4", "new")

    def run(self) -> None:
        """Take over, take samples until the dead are folded, job-1 among them, and stop."""
        with accounting(self.config(AFTER)) as accountant:
            totals(accountant)
            self.remove("job-1")
            self.wait_until_settled(accountant)

    def look(self) -> None:
        """Note what the run has removed; it was another process."""
        self.cgroups = {name: one for name, one in self.cgroups.items() if one.path.exists()}

    def check(self) -> None:
        """Let what is pinned count, start once more, and compare with the truth; then again."""
        self.look()
        for name, cgroup in {"app": "app", "one": "above-1/low", "two": "above-2/low"}.items():
            if links(self.pins).get(self.cgroups[cgroup].id) == {"ingress", "egress"}:
                self.send(cgroup, name, 19)
        for _ in range(2):
            with accounting(self.config(AFTER)) as accountant:
                self.send("job-4", "jobs", 5)
                self.send("new", "new", 3)
                self.send("moved", "after", 2)
                self.send("above-1/low", "one", 13)
                self.send("above-2/low", "two", 17)
                found = {name: values[2] for name, values in totals(accountant).items()}
                assert found == {"after": 0, "new": 0, **self.truth}
                self.wait_until_settled(accountant)
                self.check_kernel()

    def wait_until_settled(self, accountant: Accountant) -> None:
        counted = len(self.cgroups.keys() - LET_GO)
        wait_for(lambda: accountant.sample().cgroups == counted, "the counters of the dead to go")

    def check_kernel(self, layout: str = "v1-32") -> None:
        counted = {name: one for name, one in self.cgroups.items() if name not in LET_GO}
        both = {"egress", "ingress"}
        assert links(self.pins) == {one.id: both for one in counted.values()}
        for cgroup in counted.values():
            assert attached(cgroup.path) == ["count_egress", "count_ingress"]
        for name in LET_GO:
            assert attached(self.cgroups[name].path) == []
        names = {path for path in tree(self.pins) if "gress" not in path}
        assert names == {layout, *(f"{layout}/{name}" for name in MAPS)}


EITHER = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    with temporary_bpffs() as bpffs, temporary_cgroup() as top, temporary_cgroup() as sink:
        yield Scene(top, sink, bpffs / "pins")


@EITHER
def test_a_kill_at_each_step_of_taking_over_is_mended_by_the_next_start(after: bool) -> None:
    for calls in itertools.count(1):
        with scene() as one:
            one.earlier_run()
            survived = doomed(calls, after, one.run)
            one.check()
        if survived:
            break
    assert calls > 35


@EITHER
def test_a_kill_at_each_step_of_a_first_start_is_mended_by_the_next(after: bool) -> None:
    for calls in itertools.count(1):
        with scene() as one:
            one.make("app", "job-1", "job-4", "new", "moved", "old")
            one.make("above-1", "above-1/low", "above-2", "above-2/low")
            survived = doomed(calls, after, one.run)
            one.truth = defaultdict(int, {"app": 0, "jobs": 0, "one": 0, "two": 0})
            one.check()
        if survived:
            break
    assert calls > 20


@EITHER
def test_a_kill_at_each_step_of_a_change_of_layout_is_mended_by_the_next_start(
    after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for calls in itertools.count(1):
        with scene() as one:
            one.earlier_run()
            monkeypatch.setattr(pin_files, "VERSION", 2)
            survived = doomed(calls, after, one.run)
            one.look()
            with accounting(one.config(AFTER)) as accountant:
                # Counted from the first start with the new layout on, be it cut short.
                assert set(totals(accountant).values()) == {(0, 0, 0, 0)}
                one.send("app", "after the change")
                octets = one.truth["after the change"]
                assert totals(accountant)["app"] == (0, 0, octets, 23)
                one.wait_until_settled(accountant)
                one.check_kernel("v2-32")
            monkeypatch.undo()
        if survived:
            break
    assert calls > 35


@EITHER
def test_a_kill_at_each_step_of_a_purge_leaves_what_the_next_purge_removes(after: bool) -> None:
    for calls in itertools.count(1):
        with scene() as one:
            one.earlier_run()
            survived = doomed(calls, after, lambda path=str(one.pins): purge(path))  # type: ignore[misc]
            if not survived:
                with accounting(one.config(BEFORE)) as accountant:
                    before = {name: values[2] for name, values in totals(accountant).items()}
                    assert all(before[name] <= one.truth[name] for name in before)
                    octets = datagrams(one.cgroups["app"], one.sink).octets
                    after_it = {name: values[2] for name, values in totals(accountant).items()}
                    assert after_it == {**before, "app": before["app"] + octets}
            purge(str(one.pins))
            assert tree(one.pins.parent) == set()
        if survived:
            break
    assert calls > 10
