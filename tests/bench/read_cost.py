# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What a read costs: microseconds a cgroup through the accountant, without collectd.

Beside it a C loop reads the same map. Both are timed with counters that did not change
since the last read, and with a datagram sent by every cgroup in between. In the end the
accountant's totals must be those of the C loop, and both must be what was sent.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from collectd_cgacct.counters import Counters, Values

from . import measure
from .crowd import Crowd, accounting, crowd, room_for
from .lookup_loop import LookupLoop, storage_map

_C, _OURS = "C loop", "accountant"


@dataclass(frozen=True)
class Figures:
    """Medians in microseconds a cgroup, and what it took to get that far."""

    cgroups: int
    idle: dict[str, float]
    changed: dict[str, float]
    attach: float
    resident: float
    pins: bool


def run(tiny: bool) -> None:
    """Measure, and print the tables and the claims."""
    sizes, rounds = ((13, 23), 1) if tiny else ((1_000, 10_000), 21)
    # The larger first: its memory is then not what the smaller one left.
    large, small = (_measure(size, rounds) for size in reversed(sizes))
    _print(small, large, rounds)


def _measure(cgroups: int, rounds: int) -> Figures:
    with crowd(cgroups) as members, room_for(cgroups) as pins:
        before = _resident()
        begin = time.perf_counter()
        with accounting(members) as accountant:
            attach = time.perf_counter() - begin
            resident = _resident() - before
            loop = _c_loop(members)
            candidates: dict[str, Callable[[], float]] = {
                _C: lambda: loop.run() / cgroups * 1e6,
                _OURS: lambda: measure.seconds(accountant.sample) / cgroups * 1e6,
            }
            with measure.pinned():
                idle = _rounds(candidates, rounds)
                changed = _rounds(_sending_first(members, candidates), rounds)
            _check(members, loop, dict(accountant.sample().totals))
    return Figures(cgroups, idle, changed, attach / cgroups * 1e6, resident, pins)


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
            for name in (_C, _OURS)
        ],
    )
    held = ", their links held by pins" if large.pins else ""
    print(f"\nattached {large.cgroups} cgroups in {large.attach:.1f} us each{held}; ", end="")
    print(f"resident memory grew by {large.resident:.1f} MB")
    for figures in (small, large):
        for state, values in (("unchanged", figures.idle), ("all changed", figures.changed)):
            what = f"accountant / C loop, {figures.cgroups} cgroups, {state}"
            measure.claim(what, _ratio(values, _OURS), 2.0)
    growth = large.changed[_OURS] / small.changed[_OURS]
    measure.claim(f"a cgroup among {large.cgroups} / among {small.cgroups}", growth, 1.2)


def _ratio(values: dict[str, float], name: str) -> float:
    return values[name] / values[_C]


def _with_ratio(values: dict[str, float], name: str) -> tuple[float, float]:
    return values[name], _ratio(values, name)
