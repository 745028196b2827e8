# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""collectd is ended in every way, over and over, and no byte is missing downstream."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from collectd_cgacct import memory
from tests.support import census
from tests.support.bpffs import attached, links, temporary_bpffs, tree
from tests.support.cgroups import Cgroup, temporary_cgroup, wait_for
from tests.support.collectd import CHECKOUT, Collectd, module_block, running
from tests.support.private_mounts import PRIVATE_MOUNTS
from tests.support.sender import Sender, sink
from tests.support.traffic import datagrams

RESTARTS = 20
ENDS = (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)


@pytest.fixture
def pins() -> Iterator[Path]:
    with temporary_bpffs() as bpffs:
        yield bpffs / "pins"


def block(top: Cgroup, pins: Path, more: str = "") -> str:
    """Each ``one-*`` has a name of its own; all ``job-*`` are summed."""
    return module_block(
        f'<CGroup "{top.relative}/one-*">\nInstance "{{name}}"\n</CGroup>\n'
        f'<CGroup "{top.relative}/job-*">\nInstance "jobs"\n</CGroup>\n'
        f'PinPath "{pins}"\n{more}'
    )


def is_noted(pins: Path, cgroup_id: int) -> bool:
    """Tell whether the journal has the last counters of a removed cgroup, or had them."""
    (path,) = pins.glob("*/journal")
    journal = memory.find(str(path))
    assert journal
    with journal:
        return journal.find(f'["Removed",{cgroup_id},['.encode()) >= 0


def is_attached(cgroup: Cgroup) -> bool:
    return len(attached(cgroup.path)) == 2


class Fleet:
    """Cgroups with a sender in each, and the truth by name."""

    def __init__(self, top: Cgroup, pins: Path, port: int, chance: random.Random) -> None:
        self.top, self.pins, self.port, self.chance = top, pins, port, chance
        self.truth: dict[str, int] = defaultdict(int)
        self.senders: dict[str, tuple[Cgroup, Sender]] = {}
        self.waiting: list[Cgroup] = []
        self.idle: list[Cgroup] = []
        self.made = 0

    def name(self, cgroup: Cgroup) -> str:
        name = cgroup.path.name
        return "jobs" if name.startswith("job-") else name

    def appear(self) -> None:
        """Make a cgroup; it sends when it is attached."""
        kind = self.chance.choice(("one", "job", "job"))
        self.waiting.append(self.top.child(f"{kind}-{self.made}"))
        self.made += 1

    def send(self) -> None:
        """Let the new ones send."""
        for cgroup in self.waiting:
            wait_for(partial(is_attached, cgroup), f"programs at {cgroup.path.name}")
            self.senders[cgroup.path.name] = cgroup, Sender(cgroup, self.port)
        self.waiting.clear()

    def quiet(self) -> None:
        """End a sender; its cgroup goes on, idle."""
        name = self.chance.choice(sorted(self.senders))
        cgroup, sender = self.senders.pop(name)
        self.truth[self.name(cgroup)] += sender.stop()
        self.idle.append(cgroup)

    def die(self) -> None:
        """Remove a cgroup that has just sent, while collectd runs."""
        self.quiet()
        cgroup = self.idle.pop()
        number = cgroup.id
        cgroup.path.rmdir()
        wait_for(lambda: is_noted(self.pins, number), "the last counters to be kept")

    def die_idle(self) -> None:
        """Remove those that are idle since the last sample."""
        for cgroup in self.idle:
            cgroup.path.rmdir()
        self.idle.clear()

    def end(self) -> None:
        """End all senders."""
        while self.senders:
            self.quiet()


def test_20_restarts_under_traffic_lose_no_byte_and_double_none(pins: Path) -> None:
    """The kernel frees the counters of a cgroup soon after its end.

    So one that dies while collectd is down must have been idle since the last sample to
    be complete; one that dies under collectd's eyes may be ended with it at once. What
    appears while collectd is down sends from when it is attached.
    """
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"SEED={seed}")
    chance = random.Random(seed)
    with temporary_cgroup() as top, sink() as port:
        fleet = Fleet(top, pins, port, chance)
        with running(block(top, pins)) as collectd:
            for _ in range(6):
                fleet.appear()
            fleet.send()
            for number in range(RESTARTS):
                restart(collectd, fleet, ENDS[number % len(ENDS)])
            fleet.end()
            for name, octets in fleet.truth.items():
                collectd.wait_for_last(name, "if_octets", (0, octets))
                sent = [row[2] for row in collectd.rows(name, "if_octets")]
                assert sent == sorted(sent), f"{name} went backwards"
            assert fleet.made > RESTARTS
            log = collectd.earlier_logs + collectd.log()
            assert [line for line in log if not line.startswith("[info]")] == []


def restart(collectd: Collectd, fleet: Fleet, number: signal.Signals) -> None:
    """End collectd at a random moment, and start it, with cgroups that come and go meanwhile."""
    chance = fleet.chance
    fleet.appear()
    fleet.send()
    if chance.random() < 0.5:
        fleet.quiet()
        for name in fleet.truth:
            # What was sent is in a sample.
            collectd.wait_for_rows(name, 2)
    time.sleep(chance.random() * 0.4)
    if chance.random() < 0.5 and len(fleet.senders) > 3:
        fleet.die()
    collectd.signal(number)
    if chance.random() < 0.5:
        fleet.appear()
    fleet.die_idle()
    time.sleep(chance.random() * 0.2)
    collectd.again()


@pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)
def test_without_persist_nothing_is_left_in_the_kernel_however_it_ends(
    cgroup: Cgroup, pins: Path, number: signal.Signals
) -> None:
    job = cgroup.child("job-1")
    with running(block(cgroup, pins)) as collectd:
        collectd.wait_for_rows("jobs")
        objects = census.held(collectd.pid)
        collectd.signal(number)
        assert links(pins) == {job.id: {"ingress", "egress"}}
    with running(block(cgroup, pins, "Persist false")) as collectd:
        collectd.wait_for_rows("jobs")
        assert tree(pins.parent) == set()
        objects |= census.held(collectd.pid)
        collectd.signal(number)
    wait_for(lambda: not census.alive(objects), "the kernel to free all of it")
    assert attached(job.path) == []


def test_a_second_collectd_says_so_once_and_disturbs_nothing(cgroup: Cgroup, pins: Path) -> None:
    job = cgroup.child("job-1")
    with running(block(cgroup, pins)) as first:
        first.wait_for_rows("jobs")
        before = datagrams(job, job).octets
        with running(block(cgroup, pins)) as second:
            second.wait_for_rows("jobs", 3)
            octets = datagrams(job, job).octets
            second.wait_for_last("jobs", "if_octets", (octets, octets))
            (line,) = [line for line in second.log() if "holds the lock" in line]
            assert line.startswith("[notice] cgacct: ") and f"process {first.pid} (" in line
            assert second.complaints() == []
            assert second.signal() == 0
        octets += before
        first.wait_for_last("jobs", "if_octets", (octets, octets))
        assert first.complaints() == []


def test_a_pin_path_outside_of_a_bpffs_is_one_line_and_it_counts(
    cgroup: Cgroup, tmp_path: Path
) -> None:
    job = cgroup.child("job-1")
    with running(block(cgroup, tmp_path / "pins")) as collectd:
        collectd.wait_for_rows("jobs")
        octets = datagrams(job, job).octets
        collectd.wait_for_last("jobs", "if_octets", (octets, octets))
        (line,) = collectd.complaints()
        assert f'PinPath "{tmp_path}/pins"' in line and "bpffs" in line
        assert collectd.signal() == 0
        assert collectd.tracebacks() == []


def test_no_bpffs_at_all_is_one_line_with_the_mend_and_it_counts(cgroup: Cgroup) -> None:
    job = cgroup.child("job-1")
    # Not the machine's own: in mounts of its own, without any.
    unmount = (
        "while path=$(awk '/ - bpf /{print $5; exit}' /proc/self/mountinfo) && [ \"$path\" ]; "
        'do umount -l "$path"; done; exec "$@"'
    )
    wrapper = (*PRIVATE_MOUNTS, "sh", "-euc", unmount, "sh")
    with running(block(cgroup, Path("/sys/fs/bpf/collectd-cgacct")), wrapper=wrapper) as collectd:
        collectd.wait_for_rows("jobs")
        octets = datagrams(job, job).octets
        collectd.wait_for_last("jobs", "if_octets", (octets, octets))
        (line,) = collectd.complaints()
        assert "not in a bpffs" in line and "mount -t bpf bpf /sys/fs/bpf" in line


def test_collectd_dash_t_beside_the_daemon_disturbs_nothing(cgroup: Cgroup, pins: Path) -> None:
    job = cgroup.child("job-1")
    with running(block(cgroup, pins)) as collectd:
        octets = datagrams(job, job).octets
        before = tree(pins)
        command = ["collectd", "-T", "-C", str(collectd.directory / "collectd.conf")]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
        assert tree(pins) == before
        octets += datagrams(job, job).octets
        collectd.wait_for_last("jobs", "if_octets", (octets, octets))


def parts(collectd: Collectd) -> dict[str, int]:
    """Return the octets sent of the whole and of each part of the protocols."""
    found = {name: collectd.last("jobs", "if_octets", name) for name in ("", "tcp", "udp", "icmp")}
    return {name: values[1] for name, values in found.items() if values}


def test_the_parts_of_a_split_go_on_and_a_change_of_split_starts_anew_with_a_notice(
    cgroup: Cgroup, pins: Path
) -> None:
    job = cgroup.child("job-1")
    with running(block(cgroup, pins, 'Split "protocol"\n')) as collectd:
        collectd.wait_for_rows("jobs")
        octets = datagrams(job, job).octets
        collectd.signal(signal.SIGKILL)
        octets += datagrams(job, job).octets
        collectd.again()
        octets += datagrams(job, job).octets
        collectd.wait_for_last("jobs", "if_octets", (octets, octets))
        wait_for(lambda: parts(collectd) == {"": octets, "tcp": 0, "udp": octets, "icmp": 0}, "udp")
        assert [line for line in collectd.log() if not line.startswith("[info]")] == []
        assert {path.partition("/")[0] for path in tree(pins)} == {"v1-128-protocol"}
    with running(block(cgroup, pins)) as collectd:
        collectd.wait_for_rows("jobs")
        octets = datagrams(job, job).octets
        collectd.wait_for_last("jobs", "if_octets", (octets, octets))
        (line,) = [line for line in collectd.log() if not line.startswith("[info]")]
        assert line.startswith("[notice] cgacct: counters restart from zero")
        assert "v1-128-protocol" in line and "v1-32" in line
        assert {path.partition("/")[0] for path in tree(pins)} == {"v1-32"}
        assert attached(job.path) == ["count_egress", "count_ingress"]


def test_not_a_byte_of_500_short_cgroups_is_lost_and_no_pin_is_left(
    cgroup: Cgroup, pins: Path
) -> None:
    with running(block(cgroup, pins)) as collectd:
        command = [sys.executable, "-m", "tests.support.churn", str(cgroup.path), "500", "0.001"]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        octets, _, rate = map(int, done.stdout.split())
        assert rate > 100
        collectd.wait_for_last("jobs", "if_octets", (0, octets))
        wait_for(lambda: not links(pins), "the pins to be removed")
        collectd.signal(signal.SIGKILL)
        collectd.again()
        collectd.wait_for_last("jobs", "if_octets", (0, octets))
