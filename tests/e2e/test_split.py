# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The parts of a split, as collectd has them."""

from __future__ import annotations

import socket

from tests.support.cgroups import Cgroup
from tests.support.collectd import module_block, running
from tests.support.traffic import datagrams


def test_each_part_is_dispatched_beside_the_total(cgroup: Cgroup) -> None:
    block = module_block(
        f'<CGroup "{cgroup.relative}">\nInstance "it"\n</CGroup>\n'
        'Split "family"\nSplit "protocol"\nSplit "scope"\nPackets false'
    )
    with running(block) as collectd:
        collectd.wait_for_rows("it")
        four = datagrams(cgroup, cgroup, socket.AF_INET)
        six = datagrams(cgroup, cgroup, socket.AF_INET6)
        both = four + six
        collectd.wait_for_last("it", "if_octets", (both.octets, both.octets))
        parts = {
            "ipv4": four.octets,
            "ipv6": six.octets,
            "tcp": 0,
            "udp": both.octets,
            "icmp": 0,
            "other": 0,
            "loopback": both.octets,
            "external": 0,
        }
        assert {part: collectd.last("it", "if_octets", part) for part in parts} == {
            part: (octets, octets) for part, octets in parts.items()
        }
        kinds = {kind for name, kind in collectd.dispatched() if name == "it"}
        assert kinds == {"if_octets", *(f"if_octets-{part}" for part in parts)}


def test_a_split_that_is_not_known_is_one_line_and_the_rest_goes_on(cgroup: Cgroup) -> None:
    with running(module_block(f'CGroup "{cgroup.relative}"\nSplit "port"')) as collectd:
        collectd.wait_for_rows(cgroup.relative)
        (complaint,) = collectd.complaints()
        assert 'Split "port": give it one of protocol, family, scope' in complaint
