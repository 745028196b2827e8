# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""TCP is counted as the wire carries it, whatever the kernel joins or cuts."""

from __future__ import annotations

import errno
import socket

import pytest

from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows
from tests.support.capture import Frame
from tests.support.cgroups import wait_for
from tests.support.netlab import FAR, NEAR
from tests.support.wire import Bench

OCTETS = 5_000_011
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
IPV6_DSTOPTS = 59
NO_OPERATION = b"\x01"
# Destination options: next header (set by the kernel), 16 octets in all, and one option
# for experiments (RFC 4727) that who does not know it skips.
EXPERIMENT = bytes([0, 1, 0x1E, 12]) + bytes(12)


def both_ways(wire: Bench, family: socket.AddressFamily, **options: object) -> None:
    with flows.connection(wire, family, **options) as (near, far):  # type: ignore[arg-type]
        flows.transfer(near, far, OCTETS)
        flows.transfer(far, near, OCTETS)


def assert_segmented(wire: Bench) -> None:
    joined = wire.segmented()
    assert joined.rx_packets > 0 and joined.tx_packets > 0


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_transfer_both_ways_is_counted_exactly(
    wired: Wired, family: socket.AddressFamily, mtu: int
) -> None:
    wire = wired(mtu, gro=True)
    both_ways(wire, family)
    counted = wire.assert_exact(f"TCP, {family.name}, MTU {mtu}, GSO and GRO")
    assert min(counted.rx_bytes, counted.tx_bytes) > OCTETS
    assert_segmented(wire)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_transfer_that_is_not_joined_on_receipt_is_counted_exactly(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    both_ways(wire, family)
    wire.assert_exact(f"TCP, {family.name}, no GRO")
    assert wire.segmented().rx_packets == 0


@pytest.mark.parametrize("octets", [4, 40])
def test_ipv4_options_are_counted_in_every_segment(wired: Wired, octets: int) -> None:
    wire = wired(gro=True)

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, NO_OPERATION * octets)

    both_ways(wire, socket.AF_INET, tune=tune)
    wire.assert_exact(f"TCP with {octets} octets of IPv4 options")
    # GRO joins no packets with options.
    assert wire.segmented().tx_packets > 0
    assert wire.segmented().rx_packets == 0
    data = wire.capture.frames(lambda one: one.octets > 1000)
    assert {one.head[0] for one in data} == {0x45 + octets // 4}


def test_ipv6_extension_headers_are_counted_in_every_segment(wired: Wired) -> None:
    wire = wired(gro=True)

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, EXPERIMENT)

    both_ways(wire, socket.AF_INET6, tune=tune)
    wire.assert_exact("TCP with IPv6 destination options")
    assert wire.segmented().tx_packets > 0
    data = wire.capture.frames(lambda one: one.octets > 1000)
    assert {one.head[6] for one in data} == {socket.IPPROTO_DSTOPTS}


def test_short_segments_are_counted_exactly(wired: Wired) -> None:
    wire = wired(gro=True)

    def tune(one: socket.socket) -> None:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 13)
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 101)

    with flows.connection(wire, socket.AF_INET, tune) as (near, far):
        flows.transfer(near, far, 100_003)
        flows.transfer(far, near, 100_003)
    wire.assert_exact("TCP, segments of 101 octets")
    assert wire.segmented().tx_packets > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_retransmissions_are_counted(wired: Wired, family: socket.AddressFamily) -> None:
    wire = wired(gro=True)
    # Beyond the near device, so that it has counted what is lost.
    wire.lab.lose(percent=1)
    both_ways(wire, family)
    wire.assert_exact(f"TCP, {family.name}, 1 % loss")
    assert wire.lab.lost() > 10
    carried = sum(one.tcp_payload for one in wire.capture.frames() if not one.outgoing)
    assert carried > OCTETS


def shake_hands(wire: Bench, listener: socket.socket) -> None:
    """Connect from the far end, and close, the far end first."""
    with wire.lab.socket("far", listener.family, socket.SOCK_STREAM) as far:
        far.connect(listener.getsockname())
        with listener.accept()[0] as near:
            far.shutdown(socket.SHUT_WR)
            assert near.recv(1) == b""
        assert far.recv(1) == b""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_listener_is_charged_for_its_handshakes(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with flows.near_socket(wire, family, socket.SOCK_STREAM) as listener:
        listener.bind((NEAR[family], 0))
        listener.listen()
        for _ in range(23):
            shake_hands(wire, listener)
    wire.assert_exact(f"23 TCP handshakes, {family.name}")


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_with_a_syn_cookie_are_nobodys(wired: Wired, family: socket.AddressFamily) -> None:
    wire = wired()
    wire.lab.near.run("sysctl", "-q", "net.ipv4.tcp_syncookies=2")
    with flows.near_socket(wire, family, socket.SOCK_STREAM) as listener:
        listener.bind((NEAR[family], 0))
        listener.listen()
        for _ in range(23):
            shake_hands(wire, listener)

    def cookie(frame: Frame) -> bool:
        return frame.tcp_flags == SYN | ACK

    wire.assert_exact(f"23 TCP handshakes with SYN cookies, {family.name}", cookie)
    assert len(wire.capture.frames(cookie)) >= 23


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_last_fin_and_its_ack_are_missed_when_the_near_end_closes_first(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    # FIN_WAIT2 with the application gone is TIME_WAIT to the kernel: no full socket.
    with wire.lab.socket("far", family, socket.SOCK_STREAM) as listener:
        listener.bind((FAR[family], 0))
        listener.listen()
        near = flows.near_socket(wire, family, socket.SOCK_STREAM)
        near.connect(listener.getsockname())
        far = listener.accept()[0]
        near.close()
        assert far.recv(1) == b""
        wait_for(lambda: not flows.open_connections(wire), "FIN_WAIT2 to become TIME_WAIT")
        until_then = tcp(wire)
        far.close()

    def late(frame: Frame) -> bool:
        return frame.tcp_flags != 0 and frame not in until_then

    wait_for(lambda: len(wire.capture.frames(late)) >= 2, "the last acknowledgement")
    wire.assert_exact(f"TCP closed by the near end, {family.name}", late)
    assert [one.tcp_flags for one in wire.capture.frames(late)[:2]] == [FIN | ACK, ACK]


def tcp(wire: Bench) -> list[Frame]:
    return wire.capture.frames(lambda one: one.tcp_flags != 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_refused_connection_is_counted_where_there_is_a_socket(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    for _ in range(23):
        with flows.near_socket(wire, family, socket.SOCK_STREAM) as near:
            assert near.connect_ex((FAR[family], 9)) == errno.ECONNREFUSED
    counted = wire.assert_exact(f"23 connections refused by the far end, {family.name}")
    assert min(counted.rx_packets, counted.tx_packets) >= 23


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_without_a_socket_is_nobodys(wired: Wired, family: socket.AddressFamily) -> None:
    wire = wired()
    for _ in range(23):
        with wire.lab.socket("far", family, socket.SOCK_STREAM) as far:
            assert far.connect_ex((NEAR[family], 9)) == errno.ECONNREFUSED

    def refusal(frame: Frame) -> bool:
        return frame.tcp_flags in (SYN, RST | ACK)

    counted = wire.assert_exact(f"23 connections refused by the near end, {family.name}", refusal)
    assert counted.rx_packets == counted.tx_packets == 0
    assert len(wire.capture.frames(refusal)) >= 46
