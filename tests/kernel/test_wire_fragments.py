# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""IP fragments: what the hooks see of them, what they miss, and that they cannot know it.

A datagram is cut after the egress hook and put together before the ingress hook, so each
counts as one packet with one header. What is missed for n fragments: n - 1 packets, and the
headers that the fragments have and the datagram has not.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Callable

import pytest

from collectd_cgacct.counters import Counters
from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows, meters
from tests.support.netlab import FAR, NEAR
from tests.support.wire import Bench, amount, metered

IP = {socket.AF_INET: 20, socket.AF_INET6: 40}
UDP = 8
FRAGMENT_HEADER = 8
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0


def missed_by(family: socket.AddressFamily, datagrams: int, fragments: int) -> tuple[int, int]:
    """Octets and packets that are on the wire and not in the count."""
    if family == socket.AF_INET:
        return datagrams * (fragments - 1) * IP[family], datagrams * (fragments - 1)
    octets = fragments * (IP[family] + FRAGMENT_HEADER) - IP[family]
    return datagrams * octets, datagrams * (fragments - 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_datagram_counts_once_with_one_header_however_many_fragments_it_has(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    # Each fragment carries a multiple of 8 octets; these fill three to the last.
    room = (1500 - IP[family] - (FRAGMENT_HEADER if family == socket.AF_INET6 else 0)) // 8 * 8
    size = 3 * room - UDP
    with flows.datagram_sockets(wire, family) as (near, far):
        flows.carry(near, far, *[size] * 23)
        flows.carry(far, near, *[size] * 23)
    wire.show(f"23 datagrams of 3 fragments each way, {family.name}", Counters())
    datagram = IP[family] + UDP + size
    assert wire.counted() == Counters(*(23 * datagram, 23) * 2)
    truth = amount(wire.capture.frames(lambda one: not one.kernels_own))
    missed = missed_by(family, 23, 3)
    assert truth == Counters(*(23 * datagram + missed[0], 23 + missed[1]) * 2)
    assert wire.truth() == amount(wire.capture.frames())


@pytest.mark.parametrize("family", FAMILIES)
def test_fragments_that_the_application_makes_itself_are_counted_each(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    make, first = {
        socket.AF_INET: (ipv4_fragments, 1480),
        socket.AF_INET6: (ipv6_fragments, 1448),
    }[family]
    packets = make(NEAR[family], FAR[family], [0, first])
    with wire.lab.socket("far", family, socket.SOCK_DGRAM) as far:
        far.bind((FAR[family], 9))
        with flows.near_socket(wire, family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for packet in packets * 23:
                raw.sendto(packet, (FAR[family], 0))
    counted = wire.assert_exact(f"hand-made fragments, {family.name}")
    assert counted == Counters(0, 0, 23 * sum(map(len, packets)), 46)


def ipv4_fragments(source: str, target: str, offsets: list[int]) -> list[bytes]:
    """Make fragments of a UDP datagram, 100 octets in the last, up to the next in the others."""
    packets = []
    for offset, end in zip(offsets, [*offsets[1:], offsets[-1] + 100]):
        field = offset // 8 | (0x2000 if end != offsets[-1] + 100 else 0)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + end - offset, 23, field, 64, 17, 0)
        addresses = socket.inet_aton(source) + socket.inet_aton(target)
        packets.append(header + addresses + datagram(offsets[-1] + 100)[offset:end])
    return packets


def ipv6_fragments(source: str, target: str, offsets: list[int]) -> list[bytes]:
    """Do the same with IPv6."""
    packets = []
    for offset, end in zip(offsets, [*offsets[1:], offsets[-1] + 100]):
        more = end != offsets[-1] + 100
        header = struct.pack("!IHBB", 6 << 28, 8 + end - offset, 44, 64)
        addresses = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in (source, target))
        fragment = struct.pack("!BBHI", 17, 0, offset | more, 23)
        packets.append(header + addresses + fragment + datagram(offsets[-1] + 100)[offset:end])
    return packets


def datagram(size: int) -> bytes:
    # A checksum of 0 means none; these never reach a socket.
    return struct.pack("!HHHH", 5000, 9, size, 0) + bytes(size - 8)


def context(
    wire: Bench, tmp_path: Path, send: Callable[[], None]
) -> tuple[tuple[int, ...], Counters]:
    """Return all that the program is told of one packet, and what the wire carried for it."""
    path = meters.meter(tmp_path, "context", meters.CONTEXT)
    wire.restart()
    with metered(path, wire.cgroup) as meter:
        send()
        return meter.cells(), amount(wire.capture.frames(lambda one: not one.kernels_own))


def test_the_egress_hook_is_told_the_same_of_a_datagram_that_will_be_cut_and_of_one_that_will_not(
    wired: Wired, tmp_path: Path
) -> None:
    wire = wired(9000)
    with flows.datagram_sockets(wire, socket.AF_INET) as (near, far):
        near.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)

        def in_two_pieces() -> None:
            near.send(bytes(1472), socket.MSG_MORE)
            near.send(bytes(1480))
            assert len(far.recv(4096)) == 2952

        whole, on_wire_whole = context(wire, tmp_path, in_two_pieces)
        wire.lab.set_mtu(1500)
        cut, on_wire_cut = context(wire, tmp_path, lambda: flows.carry(near, far, 2952))
    # Same length, same part of it in the linear data, same headers, same device.
    assert whole == cut
    assert on_wire_whole == Counters(0, 0, 2980, 1)
    assert on_wire_cut == Counters(0, 0, 3000, 2)


def test_the_ingress_hook_is_told_the_same_of_a_datagram_that_came_in_two_fragments_and_in_three(
    wired: Wired, tmp_path: Path
) -> None:
    wire = wired()
    with flows.datagram_sockets(wire, socket.AF_INET) as (near, _far):
        near.connect((FAR[socket.AF_INET], 5000))
        raw = wire.lab.socket("far", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

        def arrive(offsets: list[int]) -> None:
            for packet in ipv4_fragments(FAR[socket.AF_INET], NEAR[socket.AF_INET], offsets):
                port = near.getsockname()[1].to_bytes(2, "big")
                # The destination port is in the first fragment's octets 22 and 23.
                first = offsets[0] == 0 and packet[6:8] == b"\x20\x00"
                sent = packet[:22] + port + packet[24:] if first else packet
                raw.sendto(sent, (NEAR[socket.AF_INET], 0))
            assert len(near.recv(4096)) == 1572

        with raw:
            two, on_wire_two = context(wire, tmp_path, lambda: arrive([0, 1480]))
            three, on_wire_three = context(wire, tmp_path, lambda: arrive([0, 744, 1480]))
    # Same length, same part of it in the linear data, same headers, same device.
    assert two == three
    assert on_wire_two.rx_packets == 2
    assert on_wire_three.rx_packets == 3
