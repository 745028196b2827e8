# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which part each packet counts for, and that the parts of a split are the whole."""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import SPLITS, Counters
from tests.kernel.conftest import FAMILIES, Wired
from tests.support import flows, traffic
from tests.support.cgroups import Cgroup, temporary_cgroup
from tests.support.netlab import FAR, Lab, lab
from tests.support.netns import temporary_netns
from tests.support.wire import Meter, add, metered

COMBINATIONS = [
    splits
    for count in range(1, len(SPLITS) + 1)
    for splits in itertools.combinations(SPLITS, count)
]
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NONE, OPTIONS = 0, 43, 44, 51, 59, 60
TCP, UDP, ICMP, ICMPV6, EXPERIMENT = 6, 17, 1, 58, 253


@pytest.fixture
def net() -> Iterator[Lab]:
    with lab() as made:
        yield made


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with temporary_cgroup() as made:
        yield made


def assert_whole(meter: Meter) -> dict[str, Counters]:
    """Assert that every split's parts are the total; return the parts."""
    cells = meter.cells()
    parts = meter.layout.parts(cells)
    for name in meter.layout.splits:
        assert add(*(parts[part] for part in SPLITS[name])) == meter.layout.total(cells)
    return parts


@pytest.mark.parametrize("splits", COMBINATIONS, ids="+".join)
def test_any_combination_tells_the_parts_apart(wired: Wired, splits: tuple[str, ...]) -> None:
    wire = wired(gro=True)
    with metered(PACKAGED_OBJECT, wire.cgroup, splits) as meter, wire.lab.near.entered():
        expected = Counters()
        sent = {}
        for family in LOOPBACKS:
            with flows.connection(wire, family) as (near, far):
                flows.transfer(near, far, 500_009)
            sent[family, "external", "tcp"] = wire.counted()
            ours = traffic.datagrams(wire.cgroup, wire.cgroup, family)
            sent[family, "loopback", "udp"] = Counters(*ours, *ours)
        parts = assert_whole(meter)
        assert meter.total() == wire.counted()
    four, six = socket.AF_INET, socket.AF_INET6
    udp_four, udp_six = sent[four, "loopback", "udp"], sent[six, "loopback", "udp"]
    tcp_four = sent[four, "external", "tcp"]
    # What the second connection added is what was counted after it, less all before.
    before = add(tcp_four, udp_four)
    tcp_six = less(sent[six, "external", "tcp"], before)
    expected_parts = {
        "tcp": add(tcp_four, tcp_six), "udp": add(udp_four, udp_six),
        "icmp": expected, "other": expected,
        "ipv4": add(tcp_four, udp_four), "ipv6": add(tcp_six, udp_six),
        "loopback": add(udp_four, udp_six), "external": add(tcp_four, tcp_six),
    }  # fmt: skip
    assert parts == {part: expected_parts[part] for name in splits for part in SPLITS[name]}


LOOPBACKS = (socket.AF_INET, socket.AF_INET6)


def less(counters: Counters, other: Counters) -> Counters:
    return Counters(*(one - two for one, two in zip(counters, other)))


def only(parts: dict[str, Counters], split: str) -> str:
    """Return the one part of ``split`` that has counted something."""
    (part,) = [part for part in SPLITS[split] if parts[part] != Counters()]
    return part


@contextlib.contextmanager
def by(cgroup: Cgroup, split: str) -> Iterator[Meter]:
    with metered(PACKAGED_OBJECT, cgroup, [split]) as meter:
        yield meter


@pytest.mark.parametrize(
    ("family", "protocol", "part"),
    [
        (socket.AF_INET, TCP, "tcp"), (socket.AF_INET, UDP, "udp"),
        (socket.AF_INET, ICMP, "icmp"), (socket.AF_INET, EXPERIMENT, "other"),
        (socket.AF_INET6, TCP, "tcp"), (socket.AF_INET6, UDP, "udp"),
        (socket.AF_INET6, ICMPV6, "icmp"), (socket.AF_INET6, EXPERIMENT, "other"),
        (socket.AF_INET6, NONE, "other"),
    ],
)  # fmt: skip
def test_the_protocol_is_that_of_the_ip_header(
    net: Lab, cgroup: Cgroup, family: socket.AddressFamily, protocol: int, part: str
) -> None:
    with by(cgroup, "protocol") as meter, cgroup.entered():
        with net.socket("near", family, socket.SOCK_RAW, protocol) as raw:
            for _ in range(23):
                raw.sendto(bytes(100), (FAR[family], 0))
        assert only(assert_whole(meter), "protocol") == part
        assert meter.total().tx_packets == 23


def extension(kind: int, following: int, units: int = 1, offset: int = 0) -> bytes:
    """Make an IPv6 extension header of ``units`` times 8 octets."""
    if kind == FRAGMENT:
        return struct.pack("!BBHI", following, 0, offset, 23)
    if kind == AUTHENTICATION:
        return struct.pack("!BB", following, units * 2 - 2) + bytes(units * 8 - 2)
    return struct.pack("!BB", following, units - 1) + bytes(units * 8 - 2)


def chain(kinds: list[int], last: int, units: int = 1, offset: int = 0) -> bytes:
    """Make an IPv6 packet to the far end with extension headers before a payload."""
    following = [*kinds[1:], last]
    body = b"".join(extension(kind, after, units, offset) for kind, after in zip(kinds, following))
    body += bytes(100)
    addresses = b"".join(socket.inet_pton(socket.AF_INET6, one) for one in ("fd23::1", "fd23::2"))
    first = kinds[0] if kinds else last
    return struct.pack("!IHBB", 6 << 28, len(body), first, 64) + addresses + body


@pytest.mark.parametrize(
    ("packet", "part"),
    [
        pytest.param(chain([], TCP), "tcp", id="none"),
        pytest.param(chain([HOP_BY_HOP], TCP), "tcp", id="hop-by-hop"),
        pytest.param(chain([ROUTING], UDP), "udp", id="routing"),
        pytest.param(chain([OPTIONS], ICMPV6), "icmp", id="destination options"),
        pytest.param(chain([AUTHENTICATION], TCP, 3), "tcp", id="authentication"),
        pytest.param(chain([OPTIONS], UDP, 150), "udp", id="a long header"),
        pytest.param(chain([FRAGMENT], UDP), "udp", id="first fragment"),
        pytest.param(chain([FRAGMENT, OPTIONS], UDP), "udp", id="options in the first fragment"),
        pytest.param(chain([FRAGMENT], UDP, 1, 800), "udp", id="later fragment"),
        pytest.param(
            chain([FRAGMENT, OPTIONS], UDP, 1, 800), "other", id="options in a later fragment"
        ),
        pytest.param(
            chain([HOP_BY_HOP, OPTIONS, ROUTING, FRAGMENT, AUTHENTICATION, OPTIONS], TCP, 3),
            "tcp",
            id="all six of RFC 8200",
        ),
        pytest.param(chain([OPTIONS] * 6, UDP), "udp", id="six"),
        pytest.param(chain([OPTIONS] * 7, UDP), "other", id="seven"),
        pytest.param(chain([50], UDP), "other", id="encrypted"),
        pytest.param(chain([OPTIONS], UDP)[:42], "other", id="cut off in an extension header"),
        pytest.param(chain([OPTIONS], UDP)[:40], "other", id="cut off before it"),
    ],
)
def test_ipv6_extension_headers_are_walked(
    net: Lab, cgroup: Cgroup, packet: bytes, part: str
) -> None:
    with by(cgroup, "protocol") as meter, cgroup.entered():
        with net.socket("near", socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for _ in range(23):
                raw.sendto(packet, (FAR[socket.AF_INET6], 0))
        assert only(assert_whole(meter), "protocol") == part
        assert meter.total() == Counters(0, 0, 23 * len(packet), 23)


@pytest.mark.parametrize("offset", [0, 100])
def test_every_ipv4_fragment_counts_for_its_protocol(net: Lab, cgroup: Cgroup, offset: int) -> None:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 120, 23, 0x2000 | offset, 64, UDP, 0)
    addresses = socket.inet_aton("10.23.0.1") + socket.inet_aton("10.23.0.2")
    with by(cgroup, "protocol") as meter, cgroup.entered():
        with net.socket("near", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(header + addresses + bytes(100), ("10.23.0.2", 0))
        assert only(assert_whole(meter), "protocol") == "udp"


def test_ipv4_through_an_ipv6_socket_is_ipv4(net: Lab, cgroup: Cgroup) -> None:
    with by(cgroup, "family") as meter, cgroup.entered():
        with net.socket("near", socket.AF_INET6, socket.SOCK_DGRAM) as near:
            near.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            near.sendto(b"mapped", ("::ffff:10.23.0.2", 9))
        assert only(assert_whole(meter), "family") == "ipv4"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_datagram_over_lo_is_loopback_both_ways(
    cgroup: Cgroup, family: socket.AddressFamily
) -> None:
    with temporary_netns() as netns, netns.entered(), by(cgroup, "scope") as meter:
        ours = traffic.datagrams(cgroup, cgroup, family)
        assert assert_whole(meter)["loopback"] == Counters(*ours, *ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_goes_to_an_address_of_this_host_is_loopback(
    net: Lab, cgroup: Cgroup, family: socket.AddressFamily
) -> None:
    with by(cgroup, "scope") as meter, cgroup.entered():
        with net.socket("near", family, socket.SOCK_DGRAM) as near:
            own = {socket.AF_INET: "10.23.0.1", socket.AF_INET6: "fd23::1"}[family]
            near.bind((own, 0))
            for _ in range(23):
                near.sendto(bytes(100), near.getsockname())
                assert len(near.recv(200)) == 100
        assert only(assert_whole(meter), "scope") == "loopback"
        assert meter.total().rx_packets == meter.total().tx_packets == 23


@pytest.mark.parametrize("family", FAMILIES)
def test_what_goes_through_another_interface_is_external_both_ways(
    wired: Wired, family: socket.AddressFamily
) -> None:
    wire = wired()
    with by(wire.cgroup, "scope") as meter:
        with flows.datagram_sockets(wire, family) as (near, far):
            flows.carry(near, far, *[100] * 23)
            flows.carry(far, near, *[100] * 23)
        assert only(assert_whole(meter), "scope") == "external"
        assert meter.total() == wire.counted()


def test_multicast_is_external_on_its_way_out_and_when_it_is_looped_back(
    net: Lab, cgroup: Cgroup
) -> None:
    with by(cgroup, "scope") as meter, cgroup.entered():
        with net.socket("near", socket.AF_INET, socket.SOCK_DGRAM) as near:
            where = socket.inet_aton("239.23.0.1") + socket.inet_aton("10.23.0.1")
            near.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, where)
            near.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, where[4:])
            near.bind(("239.23.0.1", 5000))
            for _ in range(23):
                near.sendto(bytes(100), ("239.23.0.1", 5000))
                assert len(near.recv(200)) == 100
        assert assert_whole(meter)["external"] == Counters(23 * 128, 23, 23 * 128, 23)


def test_the_parts_are_the_whole_in_every_read_under_load(wired: Wired) -> None:
    wire = wired(gro=True)
    with metered(PACKAGED_OBJECT, wire.cgroup, SPLITS) as meter:
        with flows.connection(wire, socket.AF_INET) as (near, far):
            load = threading.Thread(target=flows.transfer, args=(near, far, 50_000_017))
            load.start()
            seen = set()
            while load.is_alive():
                assert_whole(meter)
                seen.add(meter.total())
            load.join()
        wire.assert_exact("TCP while it was read")
        assert meter.total() == wire.counted()
    assert len(seen) > 2


def test_a_reading_has_as_many_octets_as_the_splits_need(cgroup: Cgroup) -> None:
    for splits, cells in (((), 1), (("scope",), 2), (("protocol",), 4), (tuple(SPLITS), 16)):
        with metered(Path(PACKAGED_OBJECT), cgroup, splits) as meter:
            assert meter.cells() == (0,) * 4 * cells
