# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""BIG TCP: packets in memory that are longer than an IP header can say."""

from __future__ import annotations

import socket

import pytest

from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows, rtnetlink
from tests.support.wire import Bench

OCTETS = 20_000_003
MOST = 185_000


def grow(wire: Bench) -> None:
    sizes = dict.fromkeys(
        (
            rtnetlink.IFLA_GSO_MAX_SIZE,
            rtnetlink.IFLA_GRO_MAX_SIZE,
            rtnetlink.IFLA_GSO_IPV4_MAX_SIZE,
            rtnetlink.IFLA_GRO_IPV4_MAX_SIZE,
        ),
        MOST,
    )
    for netns, name in ((wire.lab.near, "near"), (wire.lab.far, "far")):
        with netns.entered():
            rtnetlink.set_link(socket.if_nametoindex(name), sizes)


@pytest.mark.parametrize("mtu", [1500, 9000])
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_above_64_kib_are_counted_exactly(
    wired: Wired, family: socket.AddressFamily, mtu: int
) -> None:
    wire = wired(mtu, gro=True)
    grow(wire)
    with flows.connection(wire, family) as (near, far):
        flows.transfer(near, far, OCTETS)
        flows.transfer(far, near, OCTETS)
    wire.assert_exact(f"BIG TCP, {family.name}, MTU {mtu}")
    print("above 64 KiB:", wire.segmented().rx_bytes, "in,", wire.segmented().tx_bytes, "out")
    assert wire.segmented().tx_bytes > 0
