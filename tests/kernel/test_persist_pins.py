# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is pinned, and what is taken over."""

from __future__ import annotations

import gc
import json
import logging
import subprocess
from pathlib import Path

import pytest

from collectd_cgacct import continuity
from collectd_cgacct import pins as pin_files
from collectd_cgacct.config import Config, Selection
from tests.support import census
from tests.support.bpffs import attached, kernel_objects, links, tree
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import CHECKOUT
from tests.support.compiling import compile_bpf
from tests.support.plugin import RULES, accounting, config, said, totals
from tests.support.sender import Sender, sink
from tests.support.traffic import datagrams

NEXT = "v2-32"


def test_the_directories_are_for_the_owner_alone(cgroup: Cgroup, app: Cgroup, pins: Path) -> None:
    with accounting(config(cgroup, pins, RULES)):
        pass
    for path in (pins, *(one for one in pins.rglob("*") if one.is_dir())):
        assert path.stat().st_mode & 0o777 == 0o700


def test_a_pinned_cgroup_costs_no_descriptor(cgroup: Cgroup, pins: Path) -> None:
    with accounting(config(cgroup, pins, {"app-*": "app"})) as accountant:
        before = census.descriptors()
        for number in range(23):
            cgroup.child(f"app-{number}")
        wait_for(lambda: accountant.sample().cgroups == 23, "23 cgroups")
        assert census.descriptors() == before


def test_an_end_leaves_no_descriptor(cgroup: Cgroup, app: Cgroup, pins: Path) -> None:
    gc.disable()
    try:
        before = census.descriptors()
        with accounting(config(cgroup, pins, {"app*": "{name}"})) as accountant:
            for number in range(73):
                cgroup.child(f"app-{number}")
            wait_for(lambda: accountant.sample().cgroups == 74, "all of them")
        assert census.descriptors() == before
    finally:
        gc.enable()


def test_it_counts_while_nobody_runs_and_goes_on(cgroup: Cgroup, app: Cgroup, pins: Path) -> None:
    options, octets = config(cgroup, pins, RULES), 0
    for _ in range(3):
        with accounting(options) as accountant:
            octets += datagrams(app, app).octets
            assert totals(accountant)["app"][2] == octets
        octets += datagrams(app, app).octets
        assert attached(app.path) == ["count_egress", "count_ingress"]


def test_a_name_whose_cgroups_are_gone_goes_on_when_it_comes_back(
    cgroup: Cgroup, app: Cgroup, pins: Path
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        totals(accountant)
    app.remove()
    with accounting(options) as accountant:
        wait_for(lambda: accountant.sample().cgroups == 0, "the kernel to free its counters")
        assert totals(accountant)["app"][2] == octets
        assert links(pins) == {}
    with accounting(options) as accountant:
        assert totals(accountant)["app"][2] == octets
        app = cgroup.child("app")
        wait_for(lambda: accountant.sample().cgroups == 1, "the cgroup")
        octets += datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets


def test_a_cgroup_that_matches_no_longer_is_detached_and_stays_in_the_sum(
    cgroup: Cgroup, app: Cgroup, pins: Path
) -> None:
    with accounting(config(cgroup, pins, RULES)):
        octets = datagrams(app, app).octets
    with accounting(config(cgroup, pins, {"other": "app"})) as accountant:
        assert totals(accountant) == {"app": (octets, 23, octets, 23)}
        assert attached(app.path) == []
        datagrams(app, app)
    with accounting(config(cgroup, pins, RULES)) as accountant:
        # What came while it was not accounted is not; what came before is counted once.
        assert totals(accountant)["app"] == (octets, 23, octets, 23)
        octets += datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets


def test_names_that_are_alike_when_clean_keep_their_counters(cgroup: Cgroup, pins: Path) -> None:
    slash, dash = cgroup.child("a").child("b"), None
    options = config(cgroup, pins, {"a/b": "a/b", "a-b": "a-b"})
    with accounting(options) as accountant:
        dash = cgroup.child("a-b")
        wait_for(lambda: accountant.sample().cgroups == 2, "both")
        datagrams(slash, slash, count=23)
        datagrams(dash, dash, count=29)
        before = totals(accountant)
    assert sorted(values[3] for values in before.values()) == [23, 29]
    with accounting(options) as accountant:
        assert totals(accountant) == before


def other_object(directory: Path) -> Path:
    """Compile our programs with an instruction more."""
    source = (CHECKOUT / "bpf" / "cgacct.bpf.c").read_text("utf-8")
    lines = [line for line in source.splitlines() if not line.startswith("#include <")]
    source = "\n".join(lines).replace('#include "cgacct.h"', f'#include "{CHECKOUT}/bpf/cgacct.h"')
    source = source.replace('char LICENSE[] SEC("license") = "Dual BSD/GPL";', "")
    return compile_bpf(directory, source.replace("return 1;", "volatile int x = 1; return 1;"))


def program_ids(cgroup: Cgroup) -> list[int]:
    command = ["bpftool", "-j", "cgroup", "show", str(cgroup.path)]
    return sorted(one["id"] for one in json.loads(subprocess.check_output(command)))


def test_an_upgrade_under_load_loses_no_packet(
    cgroup: Cgroup, app: Cgroup, pins: Path, tmp_path: Path
) -> None:
    other = str(other_object(tmp_path))
    with sink() as port:
        with accounting(config(cgroup, pins, RULES)) as accountant:
            totals(accountant)
            sender = Sender(app, port, 2000)
            before = program_ids(app)
            totals(accountant)
        link_ids = {one for one in kernel_objects(pins) if one[0] == "link"}
        with accounting(config(cgroup, pins, RULES, bpf_object=other)) as accountant:
            assert {one for one in kernel_objects(pins) if one[0] == "link"} == link_ids
            assert len(program_ids(app)) == 2
            assert not set(program_ids(app)) & set(before)
            totals(accountant)
            octets = sender.stop()
            assert totals(accountant)["app"][2] == octets
    # The kernel frees what nobody holds any more a moment later.
    wait_for(lambda: not census.alive(frozenset(("prog", one) for one in before)), "the old ones")


def test_another_layout_replaces_the_old_one_with_a_notice(
    cgroup: Cgroup,
    app: Cgroup,
    pins: Path,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options):
        datagrams(app, app)
        old = kernel_objects(pins)
    assert said(records) == []
    monkeypatch.setattr(pin_files, "VERSION", 2)
    with accounting(options) as accountant:
        assert totals(accountant) == {"app": (0, 0, 0, 0)}
        (line,) = said(records)
        assert "counters restart from zero" in line and "v1-32" in line and NEXT in line
        assert {path.partition("/")[0] for path in tree(pins)} == {NEXT}
        assert attached(app.path) == ["count_egress", "count_ingress"]
        wait_for(lambda: not census.alive(old), "the old objects to be freed")


def test_the_notice_comes_once_though_strangers_keep_the_old_directory(
    cgroup: Cgroup, app: Cgroup, pins: Path, records: list[logging.LogRecord]
) -> None:
    (pins / "v0-32").mkdir(parents=True)
    (pins / "v0-32/strange").mkdir()
    for _ in range(2):
        with accounting(config(cgroup, pins, RULES)):
            assert said(records) == []
    assert (pins / "v0-32/strange").is_dir()


def test_the_journal_is_used_over_and_over(
    cgroup: Cgroup,
    pins: Path,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(continuity, "_JOURNAL", 1 << 12)
    monkeypatch.setattr(continuity, "_JOURNAL_EACH", 0)
    octets, options = 0, config(cgroup, pins, {"job-*": "jobs"})
    with accounting(options) as accountant:
        for number in range(37):
            job = cgroup.child(f"job-{number}")
            wait_for(lambda: accountant.sample().cgroups, "it")
            octets += datagrams(job, job, count=1).octets
            job.remove()
            wait_for(lambda: accountant.sample().cgroups == 0, "its end")
        assert said(records) == []
        jobs = [cgroup.child(f"job-{number}") for number in range(100)]
        wait_for(lambda: said(records), "the line that not all can be noted")
        assert totals(accountant)["jobs"][2] == octets
        octets += datagrams(jobs[99], jobs[99]).octets
    with accounting(options) as accountant:
        assert totals(accountant)["jobs"][2] == octets


def test_hundreds_of_cgroups_and_names_are_kept(cgroup: Cgroup, pins: Path) -> None:
    """More than the first book has room for, so that larger ones take its place."""
    options = config(cgroup, pins, {"app-*": "{name}"})
    apps = [cgroup.child(f"app-{number:03}") for number in range(211)]
    with accounting(options) as accountant:
        for count, app in enumerate(apps[:23], 1):
            datagrams(app, app, count=count)
        before = totals(accountant)
        assert [before[app.path.name][1] for app in apps[:24]] == [*range(1, 24), 0]
    assert tree(pins) >= {"v1-32/ledger"} and "v1-32/ledger-new" not in tree(pins)
    for app in apps[11:]:
        app.remove()
    with accounting(options) as accountant:
        assert totals(accountant) == before
        wait_for(lambda: accountant.sample().cgroups == 11, "the counters of the dead to go")
    with accounting(options) as accountant:
        assert totals(accountant) == before


def test_what_was_accounted_goes_before_what_is_new_if_it_comes_to_the_limit(
    cgroup: Cgroup, pins: Path
) -> None:
    rules = {"*": "{name}"}
    old = cgroup.child("m")
    with accounting(config(cgroup, pins, rules)) as accountant:
        octets = datagrams(old, old).octets
        totals(accountant)
    for name in "az":
        cgroup.child(name)
    with accounting(config(cgroup, pins, rules, limit=1)) as accountant:
        assert totals(accountant) == {"m": (octets, 23, octets, 23)}
        assert accountant.sample().skipped == 2


def test_a_name_that_rules_of_old_gave_to_another_is_free(cgroup: Cgroup, pins: Path) -> None:
    app = cgroup.child("app")
    with accounting(config(cgroup, pins, {"app": "a/b"})) as accountant:
        assert set(totals(accountant)) == {"a-b"}
    with accounting(config(cgroup, pins, {"app": "a-b"})) as accountant:
        octets = datagrams(app, app).octets
        assert totals(accountant) == {"a-b": (octets, 23, octets, 23)}


def test_a_new_rule_for_a_cgroup_above_counts_what_was_below_once(
    cgroup: Cgroup, app: Cgroup, pins: Path
) -> None:
    """It is attached when the one below has counted for long, under the same name."""
    with accounting(config(cgroup, pins, {"app": "one"})) as accountant:
        octets = datagrams(app, app).octets
        totals(accountant)
        octets += datagrams(app, app).octets
    octets += datagrams(app, app).octets
    upper = Selection(cgroup.relative, "one")
    rules = Config(cgroups=(upper, Selection(app.relative, "one")), pin_path=str(pins))
    for _ in range(2):
        with accounting(rules) as accountant:
            octets += datagrams(app, app).octets
            assert totals(accountant)["one"][2] == octets
            octets += datagrams(app, app).octets
