# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the programs count, to the byte, against lo's own counters in a fresh namespace."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from collectd_cgacct.counters import Counters
from tests.support import traffic
from tests.support.cgroups import Cgroup, wait_for
from tests.support.counting import Read, counting
from tests.support.netns import Netns, temporary_netns

FAMILIES = [
    pytest.param(socket.AF_INET, id="IPv4"),
    pytest.param(socket.AF_INET6, id="IPv6"),
]
NOTHING = Counters()


@pytest.fixture
def netns() -> Iterator[Netns]:
    """This process is in a network namespace of its own while the test runs."""
    with temporary_netns() as made, made.entered():
        yield made


def on_lo(netns: Netns) -> Counters:
    """Return what lo itself counted: the truth here."""
    return Counters(*netns.device("lo"))


def settled(netns: Netns, *reads: Read) -> tuple[Counters, ...]:
    """Return what all ``reads`` found, once they together have what lo has."""

    def complete() -> bool:
        found = [read() for read in reads]
        lo = on_lo(netns)
        return (
            sum(one.rx_packets for one in found) >= lo.rx_packets
            and sum(one.tx_packets for one in found) >= lo.tx_packets
        )

    wait_for(complete, "as many packets as lo carried")
    return tuple(read() for read in reads)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("payload", [0, 1, 100, 8192])
def test_datagrams_are_counted_exactly_both_ways(
    netns: Netns, cgroup: Cgroup, family: socket.AddressFamily, payload: int
) -> None:
    with counting(cgroup) as (read,):
        sent = traffic.datagrams(cgroup, cgroup, family, 23, payload)
        assert read() == Counters(*sent, *sent) == on_lo(netns)


def test_both_families_add_up_in_one_cgroup(netns: Netns, cgroup: Cgroup) -> None:
    with counting(cgroup) as (read,):
        sent = traffic.datagrams(cgroup, cgroup, socket.AF_INET)
        sent += traffic.datagrams(cgroup, cgroup, socket.AF_INET6)
        assert read() == Counters(*sent, *sent) == on_lo(netns)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tcp_connection_is_counted_exactly_from_syn_to_last_ack(
    netns: Netns, cgroup: Cgroup, family: socket.AddressFamily
) -> None:
    with counting(cgroup) as (read,):
        traffic.exchange(cgroup, cgroup, family)
        (counted,) = settled(netns, read)
        assert counted == on_lo(netns)
        assert counted.rx_packets > 23


@pytest.mark.parametrize("family", FAMILIES)
def test_the_two_ends_of_a_tcp_connection_share_out_what_lo_carried(
    netns: Netns, cgroup: Cgroup, family: socket.AddressFamily
) -> None:
    client, server = cgroup.child("client"), cgroup.child("server")
    with counting(client, server) as reads:
        traffic.exchange(client, server, family)
        asked, answered = settled(netns, *reads)
        lo = on_lo(netns)
        assert (asked.tx_bytes, asked.tx_packets) == (answered.rx_bytes, answered.rx_packets)
        assert (asked.rx_bytes, asked.rx_packets) == (answered.tx_bytes, answered.tx_packets)
        assert asked.tx_bytes + answered.tx_bytes == lo.tx_bytes
        assert asked.tx_packets + answered.tx_packets == lo.tx_packets


def test_a_sender_has_egress_only_and_a_receiver_ingress_only(netns: Netns, cgroup: Cgroup) -> None:
    sender, receiver = cgroup.child("sender"), cgroup.child("receiver")
    with counting(sender, receiver) as (read_sender, read_receiver):
        sent = traffic.datagrams(sender, receiver)
        assert read_sender() == Counters(0, 0, *sent)
        assert read_receiver() == Counters(*sent, 0, 0)


def test_two_cgroups_do_not_mix(netns: Netns, cgroup: Cgroup) -> None:
    one, other, idle = (cgroup.child(name) for name in ("one", "other", "idle"))
    with counting(one, other, idle) as (read_one, read_other, read_idle):
        small = traffic.datagrams(one, one, socket.AF_INET, 23, 100)
        large = traffic.datagrams(other, other, socket.AF_INET6, 29, 1000)
        assert read_one() == Counters(*small, *small)
        assert read_other() == Counters(*large, *large)
        assert read_idle() == NOTHING


def test_a_child_counts_in_its_parent_and_not_the_other_way(netns: Netns, cgroup: Cgroup) -> None:
    child = cgroup.child("child")
    with counting(cgroup, child) as (read_parent, read_child):
        below = traffic.datagrams(child, child, count=23)
        assert read_parent() == read_child() == Counters(*below, *below)
        above = traffic.datagrams(cgroup, cgroup, count=29, payload=1)
        both = below + above
        assert read_parent() == Counters(*both, *both)
        assert read_child() == Counters(*below, *below)


def test_a_grandchild_that_is_not_attached_counts_in_the_one_that_is(
    netns: Netns, cgroup: Cgroup
) -> None:
    deep = cgroup.child("middle").child("deep")
    with counting(cgroup) as (read,):
        sent = traffic.datagrams(deep, deep)
        assert read() == Counters(*sent, *sent)


def test_traffic_before_the_attachment_is_not_counted(netns: Netns, cgroup: Cgroup) -> None:
    traffic.datagrams(cgroup, cgroup)
    with counting(cgroup) as (read,):
        assert read() == NOTHING


def test_the_same_path_made_again_is_another_cgroup_that_begins_at_zero(
    netns: Netns, cgroup: Cgroup
) -> None:
    first = cgroup.child("again")
    with counting(first) as (read,):
        traffic.datagrams(first, first)
        assert read() != NOTHING
        first_id = first.id
        first.remove()
    second = cgroup.child("again")
    assert second.id != first_id
    with counting(second) as (read,):
        assert read() == NOTHING


def test_no_packet_is_dropped(netns: Netns, cgroup: Cgroup) -> None:
    # The programs' verdict: traffic.datagrams() receives all that it sends, or fails.
    with counting(cgroup) as (read,):
        sent = traffic.datagrams(cgroup, cgroup, count=1009, payload=1400)
        assert read().rx_packets == sent.packets == 1009
