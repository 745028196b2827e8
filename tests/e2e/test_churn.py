# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Cgroups that come and go by the hundred and the thousand: none is lost, nothing leaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import census
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import CHECKOUT, Collectd, module_block, running
from tests.support.traffic import Amount, datagrams

MIB = 2**20


def jobs(cgroup: Cgroup, instance: str = "jobs") -> str:
    return module_block(f'<CGroup "{cgroup.relative}/job-*">\nInstance "{instance}"\n</CGroup>')


def churn(cgroup: Cgroup, count: int, wait: float) -> tuple[Amount, int]:
    """Return what was sent, and the cgroups a second."""
    command = [sys.executable, "-m", "tests.support.churn", str(cgroup.path), str(count), str(wait)]
    printed = subprocess.check_output(command, cwd=CHECKOUT, text=True, timeout=120)
    octets, packets, rate = map(int, printed.split())
    return Amount(octets, packets), rate


def counted(collectd: Collectd, kind: str) -> int:
    return int((collectd.last("", "count", kind) or (0,))[0])


def settled(collectd: Collectd, instance: str) -> Amount:
    """Wait until no cgroup is left and two more rows are written; return tx of the last."""
    wait_for(lambda: counted(collectd, "cgroups") == 0, "the last cgroup to be folded")
    collectd.wait_for_rows(instance, 2)
    collectd.wait_for_rows(instance, 2, "if_packets")
    octets, packets = collectd.last(instance, "if_octets"), collectd.last(instance, "if_packets")
    assert octets and packets
    return Amount(octets[1], packets[1])


@pytest.mark.parametrize("round_", range(3))
def test_not_a_byte_of_500_short_cgroups_is_lost(cgroup: Cgroup, round_: int) -> None:
    with running(jobs(cgroup), interval=1) as collectd:
        truth, rate = churn(cgroup, 500, wait=0.001)
        assert rate > 100
        assert settled(collectd, "jobs") == truth
        assert collectd.complaints() == []


@pytest.mark.parametrize("round_", range(3))
def test_hardly_a_byte_is_lost_when_they_send_at_once(cgroup: Cgroup, round_: int) -> None:
    with running(jobs(cgroup), interval=1) as collectd:
        truth, rate = churn(cgroup, 500, wait=0)
        assert rate > 100
        measured = settled(collectd, "jobs")
        print(f"{measured.octets / truth.octets:.2%} of {truth.octets} octets, {rate} a second")
        assert truth.octets >= measured.octets >= 0.995 * truth.octets


def test_a_path_made_again_twenty_times_never_goes_backwards(cgroup: Cgroup) -> None:
    with running(jobs(cgroup, "{name}"), interval=0.1) as collectd:
        truth = Amount(0, 0)
        for _ in range(20):
            job = cgroup.child("job-1")
            wait_until_attached(job)
            truth += datagrams(job, cgroup)
            job.remove()
        assert settled(collectd, "job-1") == truth
        sent = [row[2] for row in collectd.rows("job-1", "if_octets")]
        assert sent == sorted(sent)


def wait_until_attached(cgroup: Cgroup) -> None:
    command = ["bpftool", "cgroup", "show", str(cgroup.path)]
    wait_for(
        lambda: "count_egress" in subprocess.check_output(command, text=True),
        "the programs to be attached",
    )


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_flood_beyond_the_queue_of_inotify_is_attached_in_the_end(cgroup: Cgroup) -> None:
    queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
    with running(jobs(cgroup)) as collectd:
        wait_for(lambda: collectd.rows("", "count", "cgroups"), "the first reading")
        before = memory(collectd.pid)
        names = ["job" if number % 20 == 0 else "other" for number in range(20_000)]
        assert len(names) > queue
        for number, name in enumerate(names):
            os.mkdir(cgroup.path / f"{name}-{number}")
        wait_for(lambda: counted(collectd, "cgroups") == names.count("job"), "all jobs", 60)
        assert memory(collectd.pid) - before < 10 * MIB
        cgroup.remove()
        wait_for(lambda: counted(collectd, "cgroups") == 0, "all jobs to be gone", 60)
        assert collectd.complaints() == []


def own_descriptors(collectd: Collectd) -> list[str]:
    """Return what collectd has open, without the files that its csv writer is writing."""
    return [name for name in census.descriptors(collectd.pid) if "/csv/" not in name]


def state(collectd: Collectd) -> tuple[object, ...]:
    threads = len(os.listdir(f"/proc/{collectd.pid}/task"))
    return own_descriptors(collectd), census.held(collectd.pid), threads


def at_rest(collectd: Collectd) -> tuple[object, ...]:
    """Return the state when collectd has let go of the connection that found it to be up."""

    def twice() -> tuple[object, ...] | None:
        first = state(collectd)
        rows = len(collectd.rows("", "count", "cgroups"))
        wait_for(lambda: len(collectd.rows("", "count", "cgroups")) > rows + 1, "two readings")
        return first if state(collectd) == first else None

    settled: tuple[object, ...] = wait_for(twice, "the same state twice")
    return settled


def test_ten_times_3000_cgroups_leave_nothing_in_collectd(cgroup: Cgroup) -> None:
    with running(jobs(cgroup)) as collectd:
        wait_for(lambda: collectd.rows("", "count", "cgroups"), "the first reading")
        before, memory_before = at_rest(collectd), memory(collectd.pid)
        for _ in range(10):
            made = [cgroup.child(f"job-{number}") for number in range(3000)]
            wait_for(lambda: counted(collectd, "cgroups") == 3000, "3000 attached", 60)
            for job in made:
                job.path.rmdir()
            wait_for(lambda: counted(collectd, "cgroups") == 0, "all to be gone", 60)
        wait_for(lambda: state(collectd) == before, f"{before}, not {state(collectd)}")
        grown = memory(collectd.pid) - memory_before
        print(f"resident memory grew by {grown / MIB:.1f} MiB from {memory_before / MIB:.1f}")
        assert grown < 5 * MIB
        assert collectd.complaints() == []
