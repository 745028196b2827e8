# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""UDP is counted as the wire carries it: single datagrams, UDP_SEGMENT, UDP_GRO."""

from __future__ import annotations

import socket

import pytest

from collectd_cgacct.counters import Counters
from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows
from tests.support.wire import Bench

HEADERS = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}
UDP_SEGMENT, UDP_GRO = 103, 104
SO_RCVBUFFORCE = 33
IPV6_HOPOPTS, IPV6_DSTOPTS = 54, 59
EXPERIMENT = bytes([0, 0, 0x1E, 4]) + bytes(4)


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_are_counted_exactly_both_ways(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    sizes = [0, 1, 100, 1500 - HEADERS[family]] * 23
    with flows.datagram_sockets(wire, family) as (near, far):
        flows.carry(near, far, *sizes)
        flows.carry(far, near, *sizes)
    octets = sum(sizes) + len(sizes) * HEADERS[family]
    counted = wire.assert_exact(f"92 datagrams, {family.name}")
    assert counted == Counters(octets, len(sizes), octets, len(sizes))


def receive(receiver: socket.socket, octets: int) -> None:
    """Receive so many octets, in as many pieces as they come."""
    while octets > 0:
        octets -= len(receiver.recv(1 << 16))
    assert octets == 0


def exchange_segmented(
    wire: Bench, family: socket.AddressFamily, sizes: list[int], segment: int
) -> None:
    """Send datagrams of ``sizes`` both ways, each cut into segments."""

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)

    def expect(sender: socket.socket, receiver: socket.socket) -> None:
        for size in sizes:
            sender.send(bytes(size))
            receive(receiver, size)

    with flows.datagram_sockets(wire, family, tune) as (near, far):
        near.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        expect(near, far)
        expect(far, near)


def as_segments(sizes: list[int], segment: int, headers: int) -> Counters:
    packets = sum(-(-size // segment) for size in sizes)
    octets = sum(sizes) + packets * headers
    return Counters(octets, packets, octets, packets)


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("family", FAMILIES)
def test_udp_segment_and_udp_gro_are_counted_exactly(
    wired: Wired, family: socket.AddressFamily, mtu: int
) -> None:
    wire = wired(mtu, gro=True)
    segment = mtu - HEADERS[family]
    # Whole segments, a short last one, one segment and a bit, less than one.
    sizes = [5 * segment, 5 * segment + 1, segment + 1, segment, segment - 1, 1] * 23
    exchange_segmented(wire, family, sizes, segment)
    counted = wire.assert_exact(f"UDP_SEGMENT, {family.name}, MTU {mtu}")
    assert counted == as_segments(sizes, segment, HEADERS[family])
    assert wire.segmented().tx_packets == 3 * 23
    assert wire.segmented().rx_packets > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_segments_are_counted_exactly(wired: Wired, family: socket.AddressFamily) -> None:
    wire = wired(gro=True)
    # As many segments as Linux 5.10 allows.
    sizes = [64 * 11] * 23
    exchange_segmented(wire, family, sizes, 11)
    counted = wire.assert_exact(f"UDP_SEGMENT, 11 octets each, {family.name}")
    assert counted == as_segments(sizes, 11, HEADERS[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_datagrams_that_only_the_receiver_joins_are_counted_exactly(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired(gro=True)
    with flows.datagram_sockets(wire, family) as (near, far):
        near.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        near.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 20)
        for _ in range(101):
            far.send(bytes(1000))
        receive(near, 101 * 1000)
    counted = wire.assert_exact(f"101 datagrams, {family.name}, GRO")
    assert counted == Counters(101 * (1000 + HEADERS[family]), 101, 0, 0)


def test_datagrams_for_which_the_socket_has_no_room_are_counted(wired: Wired) -> None:
    wire = wired()
    with flows.datagram_sockets(wire, socket.AF_INET) as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for _ in range(101):
            far.send(bytes(1000))
        counted = wire.assert_exact("101 datagrams, room for fewer")
    assert counted == Counters(101 * 1028, 101, 0, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_receiver_that_does_not_join_is_charged_the_same(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired(gro=True)
    with flows.datagram_sockets(wire, family) as (near, far):
        far.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        for _ in range(23):
            far.send(bytes(5000))
            for _ in range(5):
                assert len(near.recv(1 << 16)) == 1000
    counted = wire.assert_exact(f"23 times 5 segments, {family.name}, no UDP_GRO")
    assert counted == Counters(115 * (1000 + HEADERS[family]), 115, 0, 0)


def test_ipv4_options_are_counted(wired: Wired) -> None:
    wire = wired()

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"\x01" * 40)

    with flows.datagram_sockets(wire, socket.AF_INET, tune) as (near, far):
        flows.carry(near, far, *[1000] * 23)
        flows.carry(far, near, *[1000] * 23)
    counted = wire.assert_exact("23 datagrams with 40 octets of IPv4 options")
    assert counted == Counters(*(23 * (1000 + 28 + 40), 23) * 2)


def test_ipv6_extension_headers_are_counted(wired: Wired) -> None:
    wire = wired()

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_HOPOPTS, EXPERIMENT)
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, EXPERIMENT)

    with flows.datagram_sockets(wire, socket.AF_INET6, tune) as (near, far):
        flows.carry(near, far, *[1000] * 23)
        flows.carry(far, near, *[1000] * 23)
    counted = wire.assert_exact("23 datagrams with two IPv6 extension headers")
    assert counted == Counters(*(23 * (1000 + 48 + 16), 23) * 2)


def test_udp_segment_with_ipv6_extension_headers_is_counted_exactly(wired: Wired) -> None:
    wire = wired(gro=True)

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, EXPERIMENT)
        one.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)

    with flows.datagram_sockets(wire, socket.AF_INET6, tune) as (near, far):
        for _ in range(23):
            near.send(bytes(5001))
            assert sum(len(far.recv(1 << 16)) for _ in range(6)) == 5001
    counted = wire.assert_exact("UDP_SEGMENT with IPv6 destination options")
    assert counted == Counters(0, 0, 23 * (5001 + 6 * (48 + 8)), 23 * 6)
    assert wire.segmented().tx_packets == 23


@pytest.mark.parametrize("family", FAMILIES)
def test_a_datagram_that_no_socket_takes_is_nobodys(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with wire.lab.socket("far", family, socket.SOCK_DGRAM) as far:
        near = {socket.AF_INET: "10.23.0.1", socket.AF_INET6: "fd23::1"}[family]
        for _ in range(3):
            far.sendto(b"knock", (near, 9))
    counted = wire.assert_exact(f"a closed UDP port, {family.name}", lambda _frame: True)
    assert counted == Counters()
