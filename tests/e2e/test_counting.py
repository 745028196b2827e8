# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Exact values, from a cgroup's sockets to collectd's csv writer."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.support import census, traffic
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import Collectd, module_block, running


def named(*selected: tuple[Cgroup, str]) -> str:
    """Return a Module block that accounts each cgroup under its name."""
    blocks = (
        f'<CGroup "{cgroup.relative}">\n  Instance "{name}"\n</CGroup>' for cgroup, name in selected
    )
    return module_block("\n".join(blocks))


def assert_counted(
    collectd: Collectd, instance: str, received: traffic.Amount, sent: traffic.Amount
) -> None:
    """Wait until the csv writer has exactly these amounts."""
    collectd.wait_for_last(instance, "if_octets", (received.octets, sent.octets))
    collectd.wait_for_last(instance, "if_packets", (received.packets, sent.packets))


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(socket.AF_INET, id="IPv4"),
        pytest.param(socket.AF_INET6, id="IPv6"),
    ],
)
def test_the_csv_rows_equal_23_datagrams_to_the_byte(
    cgroup: Cgroup, family: socket.AddressFamily
) -> None:
    with running(named((cgroup, "app"))) as collectd:
        collectd.wait_for_rows("app")
        sent = traffic.datagrams(cgroup, cgroup, family, 23, 100)
        assert_counted(collectd, "app", sent, sent)
        assert sent.octets == 23 * (128 if family == socket.AF_INET else 148)


def test_ingress_is_rx_and_egress_is_tx(cgroup: Cgroup) -> None:
    sender, receiver = cgroup.child("sender"), cgroup.child("receiver")
    with running(named((sender, "sender"), (receiver, "receiver"))) as collectd:
        collectd.wait_for_rows("sender")
        sent = traffic.datagrams(sender, receiver)
        nothing = traffic.Amount(0, 0)
        assert_counted(collectd, "sender", nothing, sent)
        assert_counted(collectd, "receiver", sent, nothing)


def test_parent_and_child_may_both_be_listed(cgroup: Cgroup) -> None:
    child = cgroup.child("child")
    with running(named((cgroup, "parent"), (child, "child"))) as collectd:
        collectd.wait_for_rows("parent")
        below = traffic.datagrams(child, child, count=23)
        above = traffic.datagrams(cgroup, cgroup, count=29)
        assert_counted(collectd, "child", below, below)
        assert_counted(collectd, "parent", below + above, below + above)


def test_a_cgroup_that_appears_is_counted_from_then_on(cgroup: Cgroup) -> None:
    late = Cgroup(cgroup.path / "late")
    with running(named((cgroup, "there"), (late, "late"))) as collectd:
        collectd.wait_for_rows("there", 2)
        assert collectd.last("late", "if_octets") is None
        late.path.mkdir()
        collectd.wait_for_rows("late")
        sent = traffic.datagrams(late, late)
        assert_counted(collectd, "late", sent, sent)
        assert collectd.complaints() == []


def test_a_cgroup_that_goes_makes_no_noise_and_the_others_go_on(cgroup: Cgroup) -> None:
    going, staying = cgroup.child("going"), cgroup.child("staying")
    with running(named((going, "going"), (staying, "staying"))) as collectd:
        collectd.wait_for_rows("going")
        gone = traffic.datagrams(going, going)
        assert_counted(collectd, "going", gone, gone)
        going.remove()
        collectd.wait_for_rows("staying", 3)
        sent = traffic.datagrams(staying, staying)
        assert_counted(collectd, "staying", sent, sent)
        assert collectd.complaints() == []
        assert collectd.tracebacks() == []


def test_a_cgroup_that_comes_back_is_counted_again_and_never_below(cgroup: Cgroup) -> None:
    child = cgroup.child("again")
    with running(named((cgroup, "parent"), (child, "again"))) as collectd:
        collectd.wait_for_rows("again")
        sent = traffic.datagrams(child, child)
        assert_counted(collectd, "again", sent, sent)
        before = len(collectd.rows("again", "if_packets"))
        child.remove()
        collectd.wait_for_rows("parent", 2)
        child.path.mkdir()
        wait_for(lambda: len(collectd.rows("again", "if_packets")) > before, "it to come back")
        traffic.datagrams(child, child)
        collectd.wait_for_rows("again", 2)
        assert (collectd.last("again", "if_packets") or (0,))[0] >= 23
        assert collectd.complaints() == []


def test_sigterm_ends_it_with_status_0_and_leaves_nothing_in_the_kernel(cgroup: Cgroup) -> None:
    block = module_block(f'CGroup "{cgroup.relative}"\nCGroup "{cgroup.relative}/child"')
    cgroup.child("child")
    with running(block) as collectd:
        collectd.wait_for_rows(cgroup.relative)
        held = census.held(collectd.pid)
        count = census.count(held)
        assert (count["prog"], count["map"], count["link"]) == (2, 2, 4)
        assert collectd.signal(signal.SIGTERM) == 0
        wait_for(lambda: not census.alive(held), "the kernel to free all of it")
        assert collectd.complaints() == []
        assert collectd.tracebacks() == []


def test_the_end_waits_for_no_more_than_a_moment(cgroup: Cgroup) -> None:
    with running(module_block(f'CGroup "{cgroup.relative}"'), interval=60) as collectd:
        wait_for(lambda: "link" in census.count(census.held(collectd.pid)), "an attachment")
        # A signal that a thread takes which happens to run does not wake collectd's main
        # thread: it sleeps on for the rest of its interval, with or without this plugin.
        wait_for(lambda: is_asleep(collectd.pid), "all threads to sleep")
        collectd.process.terminate()
        assert collectd.process.wait(5) == 0


def is_asleep(pid: int) -> bool:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all("State:\tS" in (task / "status").read_text("ascii") for task in tasks)
