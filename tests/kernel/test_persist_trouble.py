# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""PinPath cannot be used, or what is there is not as it should be: a line, and it counts."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable

import pytest

from collectd_cgacct import continuity, libbpf, memory, watcher
from collectd_cgacct.accountant import Accountant
from collectd_cgacct.pins import Held, PinDirectory, purge
from collectd_cgacct.records import Journal
from tests.support.bpffs import attached, links, tree
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import CHECKOUT
from tests.support.plugin import RULES, accounting, command, config, said, totals
from tests.support.traffic import datagrams


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


def test_a_look_at_the_pins_that_fails_is_no_loss(
    cgroup: Cgroup,
    app: Cgroup,
    pins: Path,
    records: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options, stat = config(cgroup, pins, RULES), os.stat

    def fail(path: Any, **options: Any) -> os.stat_result:
        if "dir_fd" in options:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        return stat(path, **options)

    with accounting(options) as accountant:
        octets = datagrams(app, app).octets
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", fail)
            assert totals(accountant)["app"][2] == octets
    app.remove()
    with accounting(options) as accountant:
        assert totals(accountant)["app"][2] == octets
    assert said(records) == []


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
