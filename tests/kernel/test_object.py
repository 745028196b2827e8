# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Object, Links and CounterMap: what they do, and what they leave behind: nothing."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from collectd_cgacct.bpf import Object
from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import Counters
from collectd_cgacct.errors import OperationError
from collectd_cgacct.hierarchy import Cgroup as OpenCgroup
from tests.support import census, traffic
from tests.support.cgroups import Cgroup, wait_for
from tests.support.counting import attach, attach_opened


def assert_gone(objects: census.Held) -> None:
    # The kernel frees what nobody holds any more a moment later.
    wait_for(lambda: not census.alive(objects), "the kernel to free all of it")


def test_an_attached_object_is_two_programs_and_links_counters_and_switches(cgroup: Cgroup) -> None:
    before = census.held()
    with Object(PACKAGED_OBJECT) as loaded:
        link = attach(loaded, cgroup)
        count = census.count(census.held() - before)
        link.close()
    assert (count["prog"], count["map"], count["link"]) == (2, 2, 2)


def test_nothing_is_left_after_close(cgroup: Cgroup) -> None:
    before, open_before = census.held(), census.descriptors()
    with Object(PACKAGED_OBJECT) as loaded:
        link = attach(loaded, cgroup)
        traffic.datagrams(cgroup, cgroup)
        during = census.held() - before
        assert census.alive(during) == during
        link.close()
    assert census.held() == before
    assert census.descriptors() == open_before
    assert_gone(during)


def test_closing_twice_is_fine(cgroup: Cgroup) -> None:
    loaded = Object(PACKAGED_OBJECT)
    link = attach(loaded, cgroup)
    for _ in range(2):
        link.close()
    for _ in range(2):
        loaded.close()


def test_a_hundred_rounds_leave_no_descriptor(cgroup: Cgroup) -> None:
    open_before = census.descriptors()
    for _ in range(100):
        with Object(PACKAGED_OBJECT) as loaded:
            attach(loaded, cgroup).close()
    assert census.descriptors() == open_before


def test_the_counters_of_a_cgroup_that_nothing_is_attached_to_are_none(cgroup: Cgroup) -> None:
    with Object(PACKAGED_OBJECT) as loaded:
        assert loaded.counters().read(cgroup.id) is None


def test_counters_go_on_when_a_cgroup_is_attached_to_again(cgroup: Cgroup) -> None:
    with Object(PACKAGED_OBJECT) as loaded:
        link = attach(loaded, cgroup)
        sent = traffic.datagrams(cgroup, cgroup)
        link.close()
        link = attach(loaded, cgroup)
        sent += traffic.datagrams(cgroup, cgroup)
        assert loaded.counters().read(cgroup.id) == Counters(*sent, *sent)
        link.close()


def test_attaching_to_a_directory_that_is_no_cgroup_says_so_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    with Object(PACKAGED_OBJECT) as loaded:
        open_before = census.descriptors()
        fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
        with OpenCgroup(str(tmp_path), 1, fd) as opened, pytest.raises(OperationError) as caught:
            attach_opened(loaded, opened)
        assert census.descriptors() == open_before
    assert caught.value.errno == errno.EBADF
    assert str(tmp_path) in str(caught.value)
    assert "cgroup2" in str(caught.value)


def test_where_one_direction_cannot_be_attached_neither_is(cgroup: Cgroup) -> None:
    before = census.held()
    with Object(PACKAGED_OBJECT) as loaded:
        programs = [number for kind, number in census.held() - before if kind == "prog"]
        # Without the flag "multi" it tolerates no other, in the cgroup and below.
        attach_exclusively(cgroup, next(n for n in programs if program_name(n) == "count_egress"))
        open_before = census.descriptors()
        with pytest.raises(OperationError) as caught:
            attach(loaded, cgroup.child("child"))
        assert census.descriptors() == open_before
    assert caught.value.errno == errno.EPERM
    assert "exclusively" in str(caught.value)


def program_name(number: int) -> str:
    shown = subprocess.check_output(["bpftool", "-j", "prog", "show", "id", str(number)])
    return str(json.loads(shown)["name"])


def attach_exclusively(cgroup: Cgroup, program: int) -> None:
    command = ["bpftool", "cgroup", "attach", str(cgroup.path)]
    subprocess.run([*command, "cgroup_inet_egress", "id", str(program)], check=True)


def test_attaching_to_a_removed_cgroup_fails_and_leaves_nothing(cgroup: Cgroup) -> None:
    child = cgroup.child("gone")
    with Object(PACKAGED_OBJECT) as loaded:
        fd = os.open(child.path, os.O_RDONLY | os.O_DIRECTORY)
        with OpenCgroup("gone", child.id, fd) as opened:
            child.remove()
            open_before = census.descriptors()
            with pytest.raises(OperationError):
                attach_opened(loaded, opened)
            assert census.descriptors() == open_before


def test_a_packaged_object_loads_from_any_path(tmp_path: Path, cgroup: Cgroup) -> None:
    path = tmp_path / "with spaces and 'quotes' ü.o"
    shutil.copy(PACKAGED_OBJECT, path)
    with Object(str(path)) as loaded:
        attach(loaded, cgroup).close()


def test_libbpf_is_quiet_when_all_is_well(cgroup: Cgroup, records: list[logging.LogRecord]) -> None:
    with Object(PACKAGED_OBJECT) as loaded:
        attach(loaded, cgroup).close()
    assert [record.getMessage() for record in records if record.levelno > logging.DEBUG] == []
