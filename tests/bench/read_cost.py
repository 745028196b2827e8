# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a read costs: microseconds a cgroup through the accountant, without collectd.

Beside it a C loop reads the same map, and where there are descriptors enough, an accountant
that keeps nothing for the next start. All are timed with counters that did not change
since the last read, and with a datagram sent by every cgroup in between. In the end the
accountants' totals must be those of the C loop, and both must be what was sent.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from collectd_cgacct.accountant import Accountant
from collectd_cgacct.counters import Counters, Values
from collectd_cgacct.pins import purge

from . import measure
from .crowd import Crowd, accounting, crowd, pin_path
from .lookup_loop import LookupLoop, storage_map

_C, _OURS, _BARE = "C loop", "accountant", "with Persist false"


@dataclass(frozen=True)
class Figures:
    """Medians in microseconds a cgroup, and what it took to get that far."""

    cgroups: int
    idle: dict[str, float]
    changed: dict[str, float]
    attach: float
    resident: float


def run(tiny: bool) -> None:
    """Measure, and print the tables and the claims."""
    sizes, rounds = ((13, 23), 1) if tiny else ((1_000, 10_000), 21)
    with pin_path() as pins:
        # The larger first: its memory is then not what the smaller one left.
        large = _measure(sizes[1], rounds, pins, bare=False)
        small = _measure(sizes[0], rounds, pins, bare=True)
    _print(small, large, rounds)


def _measure(cgroups: int, rounds: int, pins: Path, bare: bool) -> Figures:
    with contextlib.ExitStack() as stack:
        members = stack.enter_context(crowd(cgroups))
        before = _resident()
        begin = time.perf_counter()
        accountants = {_OURS: stack.enter_context(accounting(members, pins))}
        attach = time.perf_counter() - begin
        resident = _resident() - before
        loop = _c_loop(members)
        if bare:
            accountants[_BARE] = stack.enter_context(accounting(members, None))
        candidates: dict[str, Callable[[], float]] = {
            _C: lambda: loop.run() / cgroups * 1e6,
            **{name: _reading(one, cgroups) for name, one in accountants.items()},
        }
        with measure.pinned():
            idle = _rounds(candidates, rounds)
            changed = _rounds(_sending_first(members, candidates), rounds)
        for accountant in accountants.values():
            _check(members, loop, dict(accountant.sample().totals))
    pins_left = purge(str(pins))
    assert pins_left == 2 * cgroups + 3, f"{pins_left} pins"
    return Figures(cgroups, idle, changed, attach / cgroups * 1e6, resident)


def _reading(accountant: Accountant, cgroups: int) -> Callable[[], float]:
    return lambda: measure.seconds(accountant.sample) / cgroups * 1e6


def _c_loop(members: Crowd) -> LookupLoop:
    with tempfile.TemporaryDirectory(prefix="cgacct-bench-") as directory:
        fields = len(Counters._fields)
        return LookupLoop(Path(directory), storage_map(), members.ids, fields)


def _rounds(candidates: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    measure.interleave(candidates, 1)  # the accountant's first read takes all in
    return measure.medians(measure.interleave(candidates, rounds))


def _sending_first(
    members: Crowd, candidates: dict[str, Callable[[], float]]
) -> dict[str, Callable[[], float]]:
    def after_traffic(candidate: Callable[[], float]) -> Callable[[], float]:
        def call() -> float:
            members.send()
            return candidate()

        return call

    return {name: after_traffic(candidate) for name, candidate in candidates.items()}


def _check(members: Crowd, loop: LookupLoop, totals: dict[str, Values]) -> None:
    loop.run()
    right = (0, 0, members.sent * 100, members.sent)  # octets of 72, 8 and 20
    assert all(sums == right for sums in loop.sums()), "the C loop's sums are not what was sent"
    assert len(totals) == len(members.ids), f"{len(totals)} names"
    assert all(tuple(values) == right for values in totals.values()), "the totals are wrong"


def _resident() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _print(small: Figures, large: Figures, rounds: int) -> None:
    measure.table(
        f"read_cost: a read of all cgroups, us a cgroup, medians of {rounds} rounds",
        ("", "cgroups", "unchanged", "ratio to C", "all changed", "ratio to C"),
        [
            (name, f.cgroups, *_with_ratio(f.idle, name), *_with_ratio(f.changed, name))
            for f in (small, large)
            for name in f.idle
        ],
    )
    print(f"\nattached {large.cgroups} cgroups in {large.attach:.1f} us each; ", end="")
    print(f"resident memory grew by {large.resident:.1f} MB")
    for figures in (small, large):
        for state, values in (("unchanged", figures.idle), ("all changed", figures.changed)):
            what = f"accountant / C loop, {figures.cgroups} cgroups, {state}"
            measure.claim(what, _ratio(values, _OURS), 2.0)
    for state, values in (("unchanged", small.idle), ("all changed", small.changed)):
        price = values[_OURS] / values[_BARE]
        print(f"Persist / without, {small.cgroups} cgroups, {state}: {price:.2f}")
    growth = large.changed[_OURS] / small.changed[_OURS]
    measure.claim(f"a cgroup among {large.cgroups} / among {small.cgroups}", growth, 1.2)


def _ratio(values: dict[str, float], name: str) -> float:
    return values[name] / values[_C]


def _with_ratio(values: dict[str, float], name: str) -> tuple[float, float]:
    return values[name], _ratio(values, name)
