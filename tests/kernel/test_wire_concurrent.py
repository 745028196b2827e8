# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Egress in process context that softirq egress of the same cgroup interrupts loses no count.

The moment between load and store is short. Several copies of the programs, each with
storage of its own, make it certain that one of them is hit.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import Counters
from tests.kernel.conftest import Wired
from tests.support import interrupted, meters
from tests.support.cgroups import wait_for
from tests.support.wire import Bench, metered

COPIES = 10
SECONDS = 2.0
ROUNDS = 5


@contextlib.contextmanager
def loaded(wire: Bench, path: str | Path) -> Iterator[list[Counters]]:
    """Put the load on the cgroup; hand out what each copy of the object counted."""
    assert os.sched_getaffinity(0) >= {0, 1}, "it takes two CPUs"
    with contextlib.ExitStack() as stack:
        copies = [stack.enter_context(metered(path, wire.cgroup)) for _ in range(COPIES)]
        before = wire.counted()
        datagrams, segments = interrupted.load(wire, SECONDS)
        wait_for(lambda: wire.counted() == wire.truth(), "agreement with the device", 5)
        counted = wire.counted()
        # Every old segment came in, and every one was acknowledged.
        assert counted.rx_packets - before.rx_packets > segments
        assert counted.tx_packets - before.tx_packets > datagrams + segments
        yield [meter.total() for meter in copies]


def test_atomic_adds_lose_nothing(wired: Wired) -> None:
    wire = wired()
    interrupted.prepare(wire)
    with loaded(wire, PACKAGED_OBJECT) as found:
        assert set(found) == {wire.counted()}


def test_plain_adds_lose_counts_of_egress_and_none_of_ingress(wired: Wired, tmp_path: Path) -> None:
    wire = wired()
    interrupted.prepare(wire)
    plain = meters.variant(tmp_path, "plain_adds", "-DPLAIN_ADDS")
    lost = 0
    for _ in range(ROUNDS):
        before = wire.counted()
        with loaded(wire, plain) as found:
            added = Counters(*(now - then for now, then in zip(wire.counted(), before)))
            assert {one[:2] for one in found} == {added[:2]}
            lost = sum(one != added for one in found)
            print(f"{lost} of {COPIES} copies with plain adds lost counts; with atomic adds none")
            if lost:
                break
    assert lost
