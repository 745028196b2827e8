# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Packets that a virtual machine's host hands over whole: gso_size set, gso_segs 0."""

from __future__ import annotations

import socket
import struct

import pytest

from collectd_cgacct.counters import Counters
from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows
from tests.support.tap import NEAR, Tap, tap

SYN, ACK, RST = 0x02, 0x10, 0x04
TCP_HEADER, UDP_HEADER = 20, 8
UDP_GRO = 104


def tcp(tap_: Tap, port: int, sequence: int, acknowledge: int, flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 23, port, sequence, acknowledge, 0x50, flags, 65535, 0, 0)


@pytest.mark.parametrize("payload", [23_000, 23_001, 1001, 1000])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_tcp_packet_without_a_number_of_segments_counts_as_what_it_was_made_of(
    wired: Wired, family: socket.AddressFamily, payload: int
) -> None:
    wire = wired()
    with (
        tap(wire.lab.near, family) as guest,
        flows.near_socket(wire, family, socket.SOCK_STREAM) as listener,
    ):
        listener.bind((NEAR[family], 0))
        listener.listen()
        port = listener.getsockname()[1]
        guest.write(socket.IPPROTO_TCP, tcp(guest, port, 1, 0, SYN), TCP_HEADER)
        answer = guest.read()
        theirs = int.from_bytes(answer[guest.ip_header + 4 : guest.ip_header + 8], "big")
        head = tcp(guest, port, 2, theirs + 1, ACK)
        guest.write(socket.IPPROTO_TCP, head, TCP_HEADER)
        near = listener.accept()[0]
        with near:
            near.settimeout(10)
            guest.write(socket.IPPROTO_TCP, head + bytes(payload), TCP_HEADER, 1000)
            left = payload
            while left:
                left -= len(near.recv(1 << 16))
            reset = tcp(guest, port, 2 + payload, theirs + 1, RST | ACK)
            guest.write(socket.IPPROTO_TCP, reset, TCP_HEADER)
    segments = -(-payload // 1000)
    headers = guest.ip_header + TCP_HEADER
    counted = wire.counted()
    # SYN, ACK, the segments, RST.
    packets = 3 + segments
    assert (counted.rx_bytes, counted.rx_packets) == (packets * headers + payload, packets)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_udp_packet_without_a_number_of_segments_counts_as_what_it_was_made_of(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with (
        tap(wire.lab.near, family) as guest,
        flows.near_socket(wire, family, socket.SOCK_DGRAM) as near,
    ):
        near.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        near.bind((NEAR[family], 0))
        head = struct.pack("!HHHH", 23, near.getsockname()[1], UDP_HEADER + 5001, 0)
        for _ in range(23):
            guest.write(socket.IPPROTO_UDP, head + bytes(5001), UDP_HEADER, 1000)
            left = 5001
            while left:
                left -= len(near.recv(1 << 16))
    headers = guest.ip_header + UDP_HEADER
    assert wire.counted() == Counters(23 * (6 * headers + 5001), 23 * 6, 0, 0)
