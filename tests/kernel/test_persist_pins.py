# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What is pinned, what is taken over, what is removed, and what is left alone."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from collectd_cgacct import continuity, libbpf, memory, watcher
from collectd_cgacct import pins as pin_files
from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection
from collectd_cgacct.pins import Held, PinDirectory, purge
from collectd_cgacct.records import Journal
from tests.support import census
from tests.support.bpffs import attached, links, temporary_bpffs, tree
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import CHECKOUT
from tests.support.compiling import compile_bpf
from tests.support.plugin import accounting, config, totals
from tests.support.sender import Sender, sink
from tests.support.traffic import datagrams

RULES = {"app": "app"}
NEXT = "v2-32"


@pytest.fixture
def bpffs() -> Iterator[Path]:
    with temporary_bpffs() as made:
        yield made


@pytest.fixture
def pins(bpffs: Path) -> Path:
    return bpffs / "pins"


@pytest.fixture
def app(cgroup: Cgroup) -> Cgroup:
    return cgroup.child("app")


def said(records: list[logging.LogRecord]) -> list[str]:
    """Return what the package itself said above the level of info, and forget it."""
    lines = [r.getMessage() for r in records if r.levelno > logging.INFO]
    records.clear()
    return [line for line in lines if not line.startswith("libbpf:")]


def kernel_objects(pins: Path) -> census.Held:
    """Return this process's objects and the links that are pinned."""
    found = set(census.held())
    for path in pins.glob("*/*gress"):
        command = ["bpftool", "-j", "link", "show", "pinned", str(path)]
        found.add(("link", json.loads(subprocess.check_output(command))["id"]))
    return frozenset(found)


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


def command(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "collectd_cgacct", *words],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


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


@pytest.mark.parametrize("lost", ["counters", "ledger", "journal", "ingress", "both links"])
def test_pins_of_which_one_is_missing_are_mended(
    cgroup: Cgroup, app: Cgroup, pins: Path, lost: str, records: list[logging.LogRecord]
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        totals(accountant)
    for path in (pins / "v1-32").iterdir():
        if path.name.endswith("gress" if lost == "both links" else lost):
            path.unlink()
    with accounting(options) as accountant:
        assert totals(accountant)["app"][2] == octets
        octets += datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
        assert attached(app.path) == ["count_egress", "count_ingress"]
    with accounting(options) as accountant:
        assert totals(accountant)["app"][2] == octets
    if lost == "counters":
        (line,) = said(records)
        assert "the counters in" in line and "were removed" in line
    assert said(records) == []


def test_a_second_instance_says_who_holds_the_lock_and_disturbs_nothing(
    cgroup: Cgroup, app: Cgroup, pins: Path, records: list[logging.LogRecord]
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options) as first:
        octets = datagrams(app, app).octets
        before = totals(first), tree(pins)
        with accounting(options) as second:
            (line,) = said(records)
            assert (
                f"process {os.getpid()} (" in line and "without pins" in line and str(pins) in line
            )
            octets_of_second = datagrams(app, app).octets
            assert totals(second)["app"][2] == octets_of_second
        assert (totals(first)["app"][2], tree(pins)) == (octets + octets_of_second, before[1])
        assert attached(app.path) == ["count_egress", "count_ingress"]


def test_the_lock_is_not_inherited(cgroup: Cgroup, app: Cgroup, pins: Path) -> None:
    with accounting(config(cgroup, pins, RULES)):
        child = subprocess.Popen(["sleep", "60"])
    try:
        with accounting(config(cgroup, pins, RULES)):
            pass
        assert purge(str(pins))
    finally:
        child.kill()
        child.wait()


def test_a_directory_that_is_no_bpffs_is_one_line_and_it_counts(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, tmp_path: Path, records: list[logging.LogRecord]
) -> None:
    path = tmp_path / "pins"
    with accounting(config(cgroup, path, RULES)) as accountant:
        octets = datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
    (line,) = said(records)
    assert str(path) in line and "not in a bpffs" in line and "/sys/fs/bpf" in line
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_bpffs_is_one_line_and_it_counts(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, records: list[logging.LogRecord]
) -> None:
    options = config(cgroup, bpffs / "pins", RULES)
    for prepared in (False, True):
        if prepared:
            subprocess.run(["mount", "-o", "remount,rw", bpffs], check=True)
            with accounting(options):
                pass
        subprocess.run(["mount", "-o", "remount,ro", bpffs], check=True)
        with accounting(options) as accountant:
            octets = datagrams(app, app).octets
            assert totals(accountant)["app"][2] == octets
        (line,) = said(records)
        assert str(bpffs) in line and "Read-only" in line and "remount" in line


@pytest.mark.parametrize("kind", ["file", "of another user", "with a dot"])
def test_a_path_that_cannot_be_ours_is_one_line_and_it_counts(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, kind: str, records: list[logging.LogRecord]
) -> None:
    path = bpffs / "pins"
    if kind == "file":
        with accounting(config(cgroup, bpffs / "first", RULES)):
            source = bpffs / "first/v1-32/ledger"
            subprocess.run(["bpftool", "map", "pin", "pinned", source, path], check=True)
    elif kind == "with a dot":
        path = bpffs / "p.ins"
    else:
        path.mkdir()
        os.chown(path, 65534, 65534)
    with accounting(config(cgroup, path, RULES)) as accountant:
        octets = datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
    (line,) = said(records)
    assert f'"{path}"' in line and "without pins" in line


def test_a_map_of_a_stranger_in_the_place_of_ours_is_one_line_and_it_counts(
    cgroup: Cgroup, app: Cgroup, pins: Path, records: list[logging.LogRecord]
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options):
        pass
    directory = pins / "v1-32"
    (directory / "ledger").unlink()
    subprocess.run(
        ["bpftool", "map", "pin", "pinned", directory / "counters", directory / "ledger"],
        check=True,
    )
    records.clear()
    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
    lines = [line for line in said(records) if "libbpf" not in line]
    assert len([line for line in lines if "without pins" in line]) == 1
    assert (directory / "ledger").exists()


@pytest.mark.parametrize("damaged", ["ledger", "journal"])
def test_memory_that_somebody_has_written_to_is_one_line_and_it_counts(
    cgroup: Cgroup, app: Cgroup, pins: Path, damaged: str, records: list[logging.LogRecord]
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        totals(accountant)
    with memory.find(str(pins / "v1-32" / damaged)) as found:  # type: ignore[union-attr]
        if damaged == "ledger":
            found[:] = found[:].replace(b"app", b'a"]')
        else:
            found[56:64] = bytes(8)
    for _ in range(2):
        with accounting(options) as accountant:
            octets = datagrams(app, app).octets
            assert totals(accountant)["app"][2] == octets
        (line,) = said(records)
        assert "damaged" in line and "without pins" in line and str(pins) in line
    assert purge(str(pins)) == 5


def test_a_note_that_makes_no_sense_is_passed_over_with_a_line(
    cgroup: Cgroup, app: Cgroup, pins: Path, records: list[logging.LogRecord]
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        totals(accountant)
    with memory.find(str(pins / "v1-32/journal")) as found:  # type: ignore[union-attr]
        Journal(found).append(["Removed", app.id, 5])
        Journal(found).append(["Removed", app.id, None])
    for expected in (1, 0):
        with accounting(options) as accountant:
            assert totals(accountant)["app"][2] == octets
        assert len(said(records)) == expected


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


def test_a_directory_that_its_owner_removes_before_it_is_locked_is_made_anew(
    bpffs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = bpffs / "pins", fcntl.flock

    def late(fd: int, how: int) -> None:
        if not removed:
            removed.append(path.stat().st_ino)
            path.rmdir()
        flock(fd, how)

    removed: list[int] = []
    monkeypatch.setattr(fcntl, "flock", late)
    owned = PinDirectory(str(path))
    assert path.stat().st_ino != removed[0]
    with pytest.raises(Held):
        purge(str(path))
    owned.close()
    purge(str(path))
    assert not path.exists()


def test_an_owner_that_ends_soon_is_waited_for(
    cgroup: Cgroup, app: Cgroup, pins: Path, records: list[logging.LogRecord]
) -> None:
    owned = PinDirectory(str(pins))
    timer = threading.Timer(0.2, owned.close)
    timer.start()
    with accounting(config(cgroup, pins, RULES)):
        assert links(pins) == {app.id: {"ingress", "egress"}}
    timer.join()
    assert said(records) == []


def test_a_mount_point_is_refused_and_left_as_it_is(
    cgroup: Cgroup, app: Cgroup, bpffs: Path, records: list[logging.LogRecord]
) -> None:
    bpffs.chmod(0o1777)
    with accounting(config(cgroup, bpffs, RULES)) as accountant:
        octets = datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
    (line,) = said(records)
    assert "it is a mount point; name a directory below it" in line
    assert (tree(bpffs), bpffs.stat().st_mode & 0o7777) == (set(), 0o1777)
    assert command("purge", "--pin-path", str(bpffs))[0] == 1


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


def test_a_path_beyond_ascii_needs_no_locale(cgroup: Cgroup, app: Cgroup, bpffs: Path) -> None:
    program = (
        "import contextlib, sys\n"
        "from collectd_cgacct.accountant import Accountant\n"
        "from collectd_cgacct.config import Config, Selection\n"
        "config = Config(cgroups=(Selection(sys.argv[1]),), pin_path=bytes.fromhex(\n"
        "    sys.argv[2]).decode('utf-8'))\n"
        "with contextlib.closing(Accountant(config)) as accountant: accountant.start()\n"
    )
    pins = bpffs / "zähler"
    words = [app.relative, os.fsencode(pins).hex()]
    # As in collectd, whose Python takes the locale for what it is.
    environment = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", program, *words]
    subprocess.run(command, cwd=CHECKOUT, env=environment, check=True)
    assert links(pins) == {app.id: {"ingress", "egress"}}


def test_a_book_that_was_not_finished_goes(cgroup: Cgroup, app: Cgroup, pins: Path) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options):
        pass
    directory = pins / "v1-32"
    places = [str(directory / "ledger"), str(directory / "ledger-new")]
    subprocess.run(["bpftool", "map", "pin", "pinned", *places], check=True)
    with accounting(options):
        assert "v1-32/ledger-new" not in tree(pins)


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


def test_a_book_that_cannot_grow_is_one_line_and_is_tried_again(
    cgroup: Cgroup,
    pins: Path,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = config(cgroup, pins, {"app-*": "{name}"})
    with accounting(options) as accountant:

        def no_memory(*_: object) -> int:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        with monkeypatch.context() as patch:
            patch.setattr(libbpf, "create_array", no_memory)
            apps = [cgroup.child(f"app-{number:03}") for number in range(211)]
            wait_for(lambda: accountant.sample().cgroups == 211, "all of them")
            octets = datagrams(apps[0], apps[0]).octets
            assert totals(accountant)["app-000"][2] == octets
        (line,) = said(records)
        assert "cannot keep the counters" in line and str(pins) in line and "memory" in line
        monkeypatch.setattr(continuity, "_RETRY", 0.0)
        assert isinstance(accountant._kept, continuity.Continuity)
        accountant._kept._retry_at = 1e-9
        before = totals(accountant)
        assert said(records) == ["the counters are kept again"]
    apps[0].remove()
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


def test_a_cgroup_that_cannot_be_attached_at_once_keeps_its_counters(
    cgroup: Cgroup,
    app: Cgroup,
    pins: Path,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = config(cgroup, pins, RULES)
    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        totals(accountant)

    def no_descriptor(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(watcher, "ANXIOUS", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(libbpf, "open_pin", _but_for_links(no_descriptor))
        accountant = Accountant(options)
        accountant.start()
    with contextlib.closing(accountant):
        assert links(pins) == {app.id: {"ingress", "egress"}}
        octets += datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
        wait_for(
            lambda: any("for all cgroups again" in line for line in said(records)), "the retry"
        )
        octets += datagrams(app, app).octets
        assert totals(accountant)["app"][2] == octets
        assert attached(app.path) == ["count_egress", "count_ingress"]


def _but_for_links(fail: Callable[..., int]) -> Callable[[str], int]:
    open_pin = libbpf.open_pin
    return lambda path: fail() if path.endswith("gress") else open_pin(path)
