# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Ping both ways, multicast, and packets that reach several sockets."""

from __future__ import annotations

import socket
import struct

import pytest

from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import Counters
from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows
from tests.support.capture import Frame
from tests.support.cgroups import Cgroup, wait_for
from tests.support.netlab import FAR, NEAR, lab
from tests.support.wire import Bench, metered

ICMP = {socket.AF_INET: socket.IPPROTO_ICMP, socket.AF_INET6: socket.IPPROTO_ICMPV6}
REQUEST = {socket.AF_INET: 8, socket.AF_INET6: 128}
REPLY = {socket.AF_INET: 0, socket.AF_INET6: 129}
IP = {socket.AF_INET: 20, socket.AF_INET6: 40}
GROUP = {socket.AF_INET: "239.23.0.1", socket.AF_INET6: "ff15::23"}


def ping(raw: socket.socket, family: socket.AddressFamily, target: str, payload: int) -> None:
    """Send an echo request, and wait for the reply."""
    message = struct.pack("!BBHHH", REQUEST[family], 0, 0, 23, 1) + bytes(payload)
    if family == socket.AF_INET:
        total = sum(struct.unpack(f"!{len(message) // 2}H", message))
        checksum = ~(total + (total >> 16)) & 0xFFFF
        message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    raw.sendto(message, (target, 0))
    while True:
        answer = raw.recv(1 << 16)
        kind = answer[(answer[0] & 15) * 4] if family == socket.AF_INET else answer[0]
        if kind == REPLY[family]:
            return


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ping_from_the_cgroup_is_counted_both_ways(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with flows.near_socket(wire, family, socket.SOCK_RAW, ICMP[family]) as raw:
        for _ in range(23):
            ping(raw, family, FAR[family], 56)
    octets = 23 * (IP[family] + 8 + 56)
    counted = wire.assert_exact(f"23 pings from the cgroup, {family.name}")
    assert counted == Counters(octets, 23, octets, 23)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_ping_that_the_kernel_answers_is_nobodys(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with wire.lab.socket("far", family, socket.SOCK_RAW, ICMP[family]) as raw:
        for _ in range(23):
            ping(raw, family, NEAR[family], 56)

    def echo(frame: Frame) -> bool:
        return frame.transport[1][0] in (REQUEST[family], REPLY[family])

    counted = wire.assert_exact(f"23 pings to the near end, {family.name}", echo)
    assert counted == Counters()
    assert len(wire.capture.frames(echo)) == 46


def multicast_receiver(wire: Bench, family: socket.AddressFamily) -> socket.socket:
    receiver = flows.near_socket(wire, family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    receiver.bind((GROUP[family], 5000))
    with wire.lab.near.entered():
        index = socket.if_nametoindex("near")
    if family == socket.AF_INET:
        where = socket.inet_aton(GROUP[family]) + socket.inet_aton(NEAR[family])
        receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, where)
    else:
        where = socket.inet_pton(family, GROUP[family]) + struct.pack("@I", index)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, where)
    return receiver


def multicast_sender(raw: socket.socket, netns_index: int, address: str) -> None:
    if raw.family == socket.AF_INET:
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
    else:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, netns_index)


def of_group(frame: Frame) -> bool:
    """Frames that are not the datagrams of the test: who is a member of what group."""
    return frame.ethertype == 0x0800 and frame.head[9] == socket.IPPROTO_IGMP


@pytest.mark.parametrize("family", FAMILIES)
def test_a_multicast_send_that_is_looped_back_counts_once_each_way(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with multicast_receiver(wire, family) as receiver:
        with flows.near_socket(wire, family, socket.SOCK_DGRAM) as sender:
            with wire.lab.near.entered():
                multicast_sender(sender, socket.if_nametoindex("near"), NEAR[family])
            for _ in range(23):
                sender.sendto(bytes(1000), (GROUP[family], 5000))
                assert len(receiver.recv(2000)) == 1000
        octets = 23 * (IP[family] + 8 + 1000)
        wire.show(f"23 multicast datagrams, looped back, {family.name}", Counters())
        # The copy that comes back is ingress, and was never on the wire.
        assert wire.counted() == Counters(octets, 23, octets, 23)
        sent = wire.capture.frames(lambda one: not one.kernels_own and not of_group(one))
        assert (sum(one.octets for one in sent), len(sent)) == (octets, 23)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_multicast_datagram_counts_once_for_each_socket_that_gets_a_copy(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with multicast_receiver(wire, family) as one, multicast_receiver(wire, family) as other:
        with wire.lab.socket("far", family, socket.SOCK_DGRAM) as sender:
            with wire.lab.far.entered():
                multicast_sender(sender, socket.if_nametoindex("far"), FAR[family])
            for _ in range(23):
                sender.sendto(bytes(1000), (GROUP[family], 5000))
                assert len(one.recv(2000)) == len(other.recv(2000)) == 1000
        octets = 23 * (IP[family] + 8 + 1000)
        wire.show(f"23 multicast datagrams to two sockets, {family.name}", Counters())
        assert wire.counted() == Counters(2 * octets, 2 * 23, 0, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reply_that_two_raw_sockets_get_counts_twice(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with (
        flows.near_socket(wire, family, socket.SOCK_RAW, ICMP[family]) as raw,
        flows.near_socket(wire, family, socket.SOCK_RAW, ICMP[family]) as other,
    ):
        for _ in range(23):
            ping(raw, family, FAR[family], 56)
        octets = 23 * (IP[family] + 8 + 56)
        assert (wire.counted().tx_bytes, wire.counted().tx_packets) == (octets, 23)
        wait_for(lambda: wire.counted().rx_packets == 46, "both copies")
        assert wire.counted().rx_bytes == 2 * octets
        assert other.recv(1 << 16)


def test_what_ipv6_itself_sends_is_charged_to_who_made_the_namespace(cgroup: Cgroup) -> None:
    # Its socket belongs to the namespace, and was made together with it.
    with metered(PACKAGED_OBJECT, cgroup) as meter:
        with cgroup.entered():
            making = lab()
            making.__enter__()
        try:
            wait_for(lambda: meter.total().tx_packets, "a multicast listener report")
        finally:
            making.__exit__(None, None, None)
