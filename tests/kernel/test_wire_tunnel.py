# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What goes through a tunnel counts as the inner packets, on the socket that sends them."""

from __future__ import annotations

import socket

import pytest

from collectd_cgacct.counters import Counters
from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows
from tests.support.cgroups import wait_for
from tests.support.netlab import ETHERNET_HEADER, FAR, NEAR, Lab, add_addresses, switch_off_offloads
from tests.support.netns import Device
from tests.support.wire import Bench

INNER_NEAR = {socket.AF_INET: "10.25.0.1", socket.AF_INET6: "fd25::1"}
INNER_FAR = {socket.AF_INET: "10.25.0.2", socket.AF_INET6: "fd25::2"}
# IPv4, UDP, VXLAN, and the inner Ethernet header.
OUTER = 20 + 8 + 8 + 14
OCTETS = 5_000_011


def build(net: Lab) -> None:
    ends = (
        (net.near, "near", NEAR, FAR, INNER_NEAR),
        (net.far, "far", FAR, NEAR, INNER_FAR),
    )
    for netns, device, here, there, inner in ends:
        netns.run(
            "ip", "link", "add", "tunnel", "type", "vxlan", "id", "23", "dstport", "4789",
            "local", here[socket.AF_INET], "remote", there[socket.AF_INET], "dev", device,
        )  # fmt: skip
        netns.run("ip", "link", "set", "tunnel", "addrgenmode", "none", "up")
        switch_off_offloads(netns, "tunnel")
        add_addresses(netns, "tunnel", inner)


def beginning(wire: Bench) -> Device:
    """Begin anew; return what the tunnel's device has counted by then."""
    found = []

    def quiet() -> bool:
        found.append(wire.lab.near.device("tunnel"))
        wire.restart()
        return found[-1] == wire.lab.near.device("tunnel")

    wait_for(quiet, "a moment without traffic")
    return found[-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_inner_packets_are_counted_once_and_exactly(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    build(wire.lab)
    before = beginning(wire)
    addresses = (INNER_NEAR[family], INNER_FAR[family])
    with flows.connection(wire, family, addresses=addresses) as (near, far):
        flows.transfer(near, far, OCTETS)
        flows.transfer(far, near, OCTETS)

    def inside() -> Counters:
        """What the tunnel's device carried, ARP and discovery left out."""
        device = wire.lab.near.device("tunnel").since(before)
        # VXLAN counts what is behind the inner Ethernet header, which device() takes off again.
        found = Counters(
            device.rx_bytes + ETHERNET_HEADER * device.rx_packets, device.rx_packets,
            device.tx_bytes + ETHERNET_HEADER * device.tx_packets, device.tx_packets,
        )  # fmt: skip
        own = [0, 0, 0, 0]
        for frame in wire.capture.frames():
            inner = frame.inside(OUTER)
            if inner is not None and inner.kernels_own:
                first = 0 if frame.outgoing else 2
                own[first] += inner.octets
                own[first + 1] += 1
        return Counters(*(one - other for one, other in zip(found, own)))

    wire.show(f"TCP through VXLAN, beside the outer device, {family.name}", Counters())
    wait_for(lambda: wire.counted() == inside(), "agreement with the tunnel's device", 5)
    assert wire.segmented().tx_packets > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_outer_headers_are_nobodys(wired: Wired, family: socket.AddressFamily) -> None:
    wire = wired()
    build(wire.lab)
    addresses = (INNER_NEAR[family], INNER_FAR[family])
    with flows.connection(wire, family, addresses=addresses) as (near, far):
        flows.transfer(near, far, OCTETS)
    counted = wire.counted()
    tcp = [
        inner
        for frame in wire.capture.frames()
        for inner in [frame.inside(OUTER)]
        if inner is not None and inner.tcp_flags
    ]
    assert len(tcp) == counted.rx_packets + counted.tx_packets
    assert sum(one.octets for one in tcp) == counted.rx_bytes + counted.tx_bytes
