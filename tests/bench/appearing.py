# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""How soon a new cgroup is counted, and what the watcher costs while nothing happens.

Another process makes the cgroups and notes when it calls mkdir; the accountant's thread
notes when both programs are attached. Once with nothing else to do, once while all that
is attached is read without a pause: far more often than collectd does.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from unittest import mock

from collectd_cgacct.accountant import Accountant
from collectd_cgacct.hierarchy import Cgroup
from collectd_cgacct.links import Links
from tests.support.cgroups import wait_for

from . import measure
from .crowd import accounting, crowd, pin_path

# Makes the directories at times that no clock of ours falls in with.
_MAKER = """
import json, os, random, sys, time
parent, *names = sys.argv[1:]
begun = []
for name in names:
    time.sleep(random.uniform(0.001, 0.003))
    begun.append(time.monotonic())
    os.mkdir(os.path.join(parent, name))
print(json.dumps(begun))
"""


def run(tiny: bool) -> None:
    """Measure, and print the tables and the claims."""
    cgroups, new, idle_seconds = (13, 23, 0.1) if tiny else (1_000, 1_000, 5.0)
    with pin_path() as pins, crowd(cgroups) as crowded, accounting(crowded, pins) as accountant:
        accountant.sample()
        cpu, woken = _idle(idle_seconds)
        parent = str(crowded.parent.path)
        quiet = _latencies(parent, "quiet", new, None)
        busy = _latencies(parent, "busy", new, accountant)
    measure.table(
        f"appearing: from mkdir to both programs attached, ms, {new} new cgroups each",
        ("beside", "median", "99th percentile", "longest"),
        [
            ("nothing", *_summary(quiet)),
            (f"reading {cgroups} cgroups without a pause", *_summary(busy)),
        ],
    )
    print()
    measure.claim("median, ms, beside nothing", measure.percentile(quiet, 50), 1)
    measure.claim("99th percentile, ms, beside nothing", measure.percentile(quiet, 99), 5)
    print(f"idle for {idle_seconds:g} s: {cpu:.3f} % of a CPU, woken {woken} times")


@contextlib.contextmanager
def _attach_times() -> Iterator[dict[str, float]]:
    """Note when each attach was done, by the cgroup's name."""
    times: dict[str, float] = {}
    attach = Links.attach

    def timed(self: Links, cgroup: Cgroup) -> None:
        attach(self, cgroup)
        times[cgroup.path.rpartition("/")[2]] = time.monotonic()

    with mock.patch.object(Links, "attach", timed):
        yield times


def _latencies(parent: str, prefix: str, count: int, accountant: Accountant | None) -> list[float]:
    """Return the milliseconds from mkdir to attached; ``accountant`` reads all the while."""
    names = [f"{prefix}-{number}" for number in range(count)]
    command = [sys.executable, "-c", _MAKER, parent, *names]
    maker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with _attach_times() as attached, maker:
        while accountant and maker.poll() is None:
            accountant.sample()
        begun = json.loads(maker.communicate()[0])
        wait_for(lambda: attached.keys() >= set(names), "all of them to be attached")
    return [(attached[name] - begin) * 1e3 for name, begin in zip(names, begun)]


def _idle(seconds: float) -> tuple[float, int]:
    """Return the percentage of a CPU that this process used, and how often it was woken."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    time.sleep(seconds)
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # Once for the sleep itself.
    return used / seconds * 100, after.ru_nvcsw - before.ru_nvcsw - 1


def _summary(values: list[float]) -> tuple[float, float, float]:
    return measure.percentile(values, 50), measure.percentile(values, 99), max(values)
