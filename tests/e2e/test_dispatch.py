# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which values collectd gets, under which names, and how often."""

from __future__ import annotations

from tests.support import traffic
from tests.support.cgroups import Cgroup
from tests.support.collectd import module_block, running


def of_cgroups(dispatched: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Leave the plugin's own state out, which has no plugin instance."""
    return {(instance, kind) for instance, kind in dispatched if instance}


def test_a_path_without_instance_is_named_with_dashes(cgroup: Cgroup) -> None:
    child = cgroup.child("app.service")
    with running(module_block(f'CGroup "{child.relative}"')) as collectd:
        name = f"{cgroup.relative}-app.service"
        collectd.wait_for_rows(name, kind="if_packets")
        assert of_cgroups(collectd.dispatched()) == {(name, "if_octets"), (name, "if_packets")}


def test_an_instance_names_it(cgroup: Cgroup) -> None:
    block = module_block(f'<CGroup "{cgroup.relative}">\n  Instance "my name"\n</CGroup>')
    with running(block) as collectd:
        collectd.wait_for_rows("my name", kind="if_packets")
        assert {instance for instance, _ in of_cgroups(collectd.dispatched())} == {"my name"}


def test_the_root_is_named_root() -> None:
    with running(module_block('CGroup "/"')) as collectd:
        collectd.wait_for_rows("root")
        assert {instance for instance, _ in of_cgroups(collectd.dispatched())} == {"root"}


def test_a_leading_slash_and_the_mount_point_are_the_same_path(cgroup: Cgroup) -> None:
    child = cgroup.child("child")
    block = module_block(f'CGroup "/{cgroup.relative}"\nCGroup "{child.path}"')
    with running(block) as collectd:
        collectd.wait_for_rows(cgroup.relative)
        collectd.wait_for_rows(f"{cgroup.relative}-child")
        assert collectd.complaints() == []


def test_rx_and_tx_are_the_data_sources(cgroup: Cgroup) -> None:
    with running(
        module_block(f'<CGroup "{cgroup.relative}">\nInstance "app"\n</CGroup>')
    ) as collectd:
        # A rate needs two values.
        collectd.wait_for_rows("app", 2, "if_packets")
        for kind in ("if_octets", "if_packets"):
            assert set(collectd.sock.rates(f"testhost/cgacct-app/{kind}")) == {"rx", "tx"}


def test_packets_false_drops_if_packets_alone(cgroup: Cgroup) -> None:
    with running(module_block(f'CGroup "{cgroup.relative}"\nPackets false')) as collectd:
        collectd.wait_for_rows(cgroup.relative, 2)
        assert of_cgroups(collectd.dispatched()) == {(cgroup.relative, "if_octets")}


def test_the_plugins_own_interval_is_kept(cgroup: Cgroup) -> None:
    block = module_block(f'CGroup "{cgroup.relative}"\nInterval 0.5')
    with running(block, interval=3600) as collectd:
        collectd.wait_for_rows(cgroup.relative, 7)
        times = [row[0] for row in collectd.rows(cgroup.relative, "if_octets")]
        # The first reading is at once and the schedule does not drift; one may come late.
        assert 0.45 * 6 < times[6] - times[0] < 0.5 * 6 + 2


def test_several_module_blocks_add_up(cgroup: Cgroup) -> None:
    one, other = cgroup.child("one"), cgroup.child("other")
    block = "\n".join(module_block(f'CGroup "{path.relative}"') for path in (one, other))
    with running(block) as collectd:
        for path in (one, other):
            collectd.wait_for_rows(path.relative.replace("/", "-"))


def test_a_path_with_spaces_and_umlauts_is_counted(cgroup: Cgroup) -> None:
    odd = cgroup.child("a b ü")
    with running(module_block(f'<CGroup "{odd.relative}">\nInstance "odd"\n</CGroup>')) as collectd:
        collectd.wait_for_rows("odd")
        sent = traffic.datagrams(odd, odd)
        collectd.wait_for_last("odd", "if_packets", (sent.packets, sent.packets))
