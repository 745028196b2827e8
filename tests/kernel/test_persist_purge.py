# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What purge removes, and Persist false; and what they leave alone."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import pytest

from collectd_cgacct.pins import purge
from tests.support import census
from tests.support.bpffs import attached, kernel_objects, links, tree
from tests.support.cgroups import Cgroup, wait_for
from tests.support.plugin import RULES, accounting, command, config, said, totals
from tests.support.traffic import datagrams


def test_nothing_is_left_after_a_purge(cgroup: Cgroup, app: Cgroup, bpffs: Path) -> None:
    pins, before = bpffs / "pins", census.held()
    with accounting(config(cgroup, pins, RULES)):
        objects = kernel_objects(pins) - before
    counted = census.count(objects)
    assert (counted["prog"], counted["map"], counted["link"]) == (2, 4, 2)
    wait_for(lambda: census.alive(objects) == objects, "all to live on")
    assert purge(str(pins)) == 5
    assert tree(bpffs) == set()
    assert attached(app.path) == []
    wait_for(lambda: not census.alive(objects), "the kernel to free all of it")
    assert purge(str(pins)) == 0


def test_the_command_purges_unless_a_daemon_holds_the_lock(
    cgroup: Cgroup, app: Cgroup, bpffs: Path
) -> None:
    pins = bpffs / "pins"
    with accounting(config(cgroup, pins, RULES)):
        status, output = command("purge", "--pin-path", str(pins))
        assert status == 1
        assert f'"{pins}"' in output and f"process {os.getpid()} (" in output
        assert output.count("\n") == 1
        assert links(pins) == {app.id: {"ingress", "egress"}}
    assert command("purge", "--pin-path", str(pins)) == (0, f"5 pins removed from {pins}\n")
    assert tree(bpffs) == set()


def test_the_command_finds_the_pins_by_collectd_s_configuration(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, tmp_path: Path
) -> None:
    pins = bpffs / "pins"
    with accounting(config(cgroup, pins, RULES)):
        pass
    (tmp_path / "part.conf").write_text(
        f'<Plugin "python">\n<Module "collectd_cgacct">\nPinPath "{pins}"\n</Module>\n</Plugin>\n',
        "utf-8",
    )
    conf = tmp_path / "collectd.conf"
    conf.write_text(f'LoadPlugin python\nInclude "{tmp_path}/p*.conf"\n', "utf-8")
    assert command("purge", "--config", str(conf)) == (0, f"5 pins removed from {pins}\n")
    conf.write_text("<Plugin python>\n", "utf-8")
    status, output = command("purge", "--config", str(conf))
    assert (status, output) == (
        1,
        f"collectd-cgacct: {conf}, line 1: <Plugin> is not closed\n",
    )


def test_the_command_purges_with_force_while_a_daemon_holds_the_lock(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, records: list[logging.LogRecord]
) -> None:
    pins, rules = bpffs / "pins", {"app*": "{name}"}
    with accounting(config(cgroup, pins, rules)) as accountant:
        assert command("purge", "--pin-path", str(pins), "--force")[0] == 0
        assert tree(bpffs) == set()
        assert attached(app.path) == []
        totals(accountant)
        (line,) = said(records)
        assert str(pins) in line and "were removed" in line and "restart collectd" in line
        app.remove()
        other = cgroup.child("app-2")
        wait_for(lambda: accountant.sample().cgroups == 1, "the other one")
        octets = datagrams(other, other).octets
        assert totals(accountant)["app-2"][2] == octets
        # What another one pins there now is not touched.
        with accounting(config(cgroup, pins, rules)) as second:
            before = tree(pins)
            assert totals(second)["app-2"][2] == 0
            totals(accountant)
            assert tree(pins) == before
    assert said(records) == []


def test_files_of_strangers_are_left_alone(cgroup: Cgroup, app: Cgroup, bpffs: Path) -> None:
    pins = bpffs / "pins"
    with accounting(config(cgroup, pins, RULES)):
        pass
    strangers = {
        "pins/other",
        "pins/v1-32/12-sideways",
        "pins/v1-32/0123-ingress",
        "pins/v1-32/deep",
    }
    strangers |= {"pins/v1-32x", "pins/v1-32/ledger2", "pins/v1-32/deep/counters", "pins/v3-99"}
    # Named as ours, but something else.
    strangers |= {"pins/v1-32/77-ingress", "pins/v1-32/ledger-new"}
    for path in sorted(strangers):
        if path.endswith(("deep", "v1-32x")):
            (bpffs / path).mkdir()
        else:
            pinned = bpffs / "pins/v1-32/counters"
            subprocess.run(["bpftool", "map", "pin", "pinned", pinned, bpffs / path], check=True)
    with accounting(config(cgroup, pins, RULES)) as accountant:
        octets = datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
    assert purge(str(pins)) == 5
    assert tree(bpffs) == strangers | {"pins", "pins/v1-32"}


def test_without_persist_nothing_is_pinned_and_old_pins_are_removed(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, records: list[logging.LogRecord]
) -> None:
    pins = bpffs / "pins"
    with accounting(config(cgroup, pins, RULES)):
        objects = kernel_objects(pins)
    with accounting(config(cgroup, pins, RULES, persist=False)) as accountant:
        assert tree(bpffs) == set()
        octets = datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
        objects |= census.held()
    assert said(records) == []
    wait_for(lambda: not census.alive(objects - census.held()), "the kernel to free all of it")


def test_without_persist_the_pins_of_a_daemon_are_left_alone(
    cgroup: Cgroup, app: Cgroup, pins: Path, records: list[logging.LogRecord]
) -> None:
    with accounting(config(cgroup, pins, RULES)):
        before = tree(pins)
        with accounting(config(cgroup, pins, RULES, persist=False)):
            (line,) = said(records)
            assert "holds the lock" in line
        assert tree(pins) == before


def test_purge_follows_a_symbolic_link(cgroup: Cgroup, app: Cgroup, bpffs: Path) -> None:
    (bpffs / "link").symlink_to("pins")
    (bpffs / "pins").mkdir()
    with accounting(config(cgroup, bpffs / "link", RULES)):
        pass
    assert command("purge", "--pin-path", str(bpffs / "link"))[0] == 0
    assert tree(bpffs) == {"link", "pins"}


def test_purge_wants_an_absolute_path() -> None:
    for path in ("", "pins"):
        status, output = command("purge", "--pin-path", path)
        assert status == 2
        assert "--pin-path: give it an absolute path" in output


@pytest.mark.parametrize("path", ["/etc/passwd", "/tmp"])
def test_purge_of_what_cannot_be_a_pin_path_is_an_error(path: str) -> None:
    status, output = command("purge", "--pin-path", path)
    assert status == 1
    assert output.count("\n") == 1 and "not in a bpffs" in output


def test_purge_of_what_is_not_there_is_fine(bpffs: Path) -> None:
    assert command("purge", "--pin-path", str(bpffs / "none")) == (
        0,
        f"0 pins removed from {bpffs}/none\n",
    )


def test_root_purges_the_pins_of_another_user(cgroup: Cgroup, app: Cgroup, pins: Path) -> None:
    with accounting(config(cgroup, pins, RULES)):
        pass
    os.chown(pins, 65534, 65534)
    assert purge(str(pins)) == 5
