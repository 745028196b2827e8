# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Between two runs the rules change, or cgroups, or somebody was killed: exact all the same."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection
from collectd_cgacct.continuity import Continuity
from collectd_cgacct.links import Links
from collectd_cgacct.roster import Removed
from tests.support.bpffs import attached, links
from tests.support.cgroups import Cgroup, wait_for
from tests.support.plugin import accounting, config, totals
from tests.support.sender import Sender, sink
from tests.support.traffic import datagrams


@pytest.fixture
def upper(cgroup: Cgroup) -> Cgroup:
    return cgroup.child("upper")


@pytest.fixture
def lower(upper: Cgroup) -> Cgroup:
    return upper.child("lower")


def killed(run: Callable[[], object]) -> None:
    """Run ``run`` in a process that is killed at its end."""
    child = os.fork()
    if not child:
        try:
            run()
        except BaseException:
            os._exit(1)
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def octets(accountant: Accountant, name: str) -> int:
    """Take a sample; return what ``name`` has sent."""
    return totals(accountant)[name][2]


UPPER, LOWER = "upper", "upper/lower"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # Who counts for "one"; an upper one counts for those below.
        ({UPPER: "one", LOWER: "one"}, {LOWER: "one"}),
        ({UPPER: "one", LOWER: "one"}, {UPPER: "up", LOWER: "one"}),
        ({UPPER: "up", LOWER: "one"}, {UPPER: "one", LOWER: "one"}),
        ({LOWER: "one"}, {UPPER: "one", LOWER: "one"}),
        ({LOWER: "one"}, {UPPER: "one"}),
        ({UPPER: "one", LOWER: "one"}, {UPPER: "one"}),
        ({UPPER: "one"}, {UPPER: "one", LOWER: "one"}),
    ],
    ids=["leaves", "is renamed", "takes over", "is new", "is new and alone", "alone", "with lower"],
)
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_a_cgroup_below_another_sends_counts_once_whoever_counts_it(
    cgroup: Cgroup,
    lower: Cgroup,
    pins: Path,
    before: dict[str, str],
    after: dict[str, str],
    end: str,
) -> None:
    sent = 0

    def send() -> None:
        nonlocal sent
        sent += datagrams(lower, lower).octets

    earlier = config(cgroup, pins, before)
    with accounting(earlier):
        pass
    send()

    def run() -> None:
        accountant = Accountant(earlier)
        accountant.start()
        assert octets(accountant, "one") == sent

    if end == "kill":
        killed(run)
    else:
        with accounting(earlier) as accountant:
            assert octets(accountant, "one") == sent
            send()
    send()
    later = config(cgroup, pins, after)
    for _ in range(2):
        with accounting(later) as accountant:
            send()
            assert octets(accountant, "one") == sent
            send()
            assert octets(accountant, "one") == sent
        send()


def assert_slash_and_dash(accountant: Accountant) -> None:
    """Check that a/b, which has the name, has sent 23 packets, and a-b, which has another, 29."""
    found = {name: values[3] for name, values in totals(accountant).items()}
    assert found.pop("a-b") == 23
    assert list(found.values()) == [29]


def test_names_that_are_alike_when_clean_do_not_swap_by_a_kill(cgroup: Cgroup, pins: Path) -> None:
    slash = cgroup.child("a").child("b")
    options = config(cgroup, pins, {"a/b": "a/b", "a-b": "a-b"})
    with accounting(options) as accountant:
        datagrams(slash, slash, count=23)
        totals(accountant)

    def run() -> None:
        accountant = Accountant(options)
        accountant.start()
        dash = cgroup.child("a-b")
        wait_for(lambda: len(accountant._links) == 2, "both")
        datagrams(dash, dash, count=29)

    killed(run)
    with accounting(options) as accountant:
        assert_slash_and_dash(accountant)


def test_the_name_of_the_dead_is_not_given_to_another(cgroup: Cgroup, pins: Path) -> None:
    slash = cgroup.child("a").child("b")
    options = config(cgroup, pins, {"a/b": "a/b", "a-b": "a-b"})
    with accounting(options) as accountant:
        datagrams(slash, slash, count=23)
        totals(accountant)
        slash.remove()
        wait_for(lambda: accountant.sample().cgroups == 0, "its end")
    with accounting(options) as accountant:
        dash = cgroup.child("a-b")
        wait_for(lambda: accountant.sample().cgroups == 1, "the other one")
        datagrams(dash, dash, count=29)
        assert_slash_and_dash(accountant)


def test_what_came_after_the_last_sample_is_kept_by_an_orderly_end(
    cgroup: Cgroup, pins: Path
) -> None:
    app, options = cgroup.child("app"), config(cgroup, pins, {"app": "app"})
    with accounting(options) as accountant:
        totals(accountant)
        sent = datagrams(app, app).octets
    app.remove()
    with accounting(options) as accountant:
        assert octets(accountant, "app") == sent


def test_what_was_removed_before_a_kill_is_kept_without_a_sample(
    cgroup: Cgroup, pins: Path
) -> None:
    options = config(cgroup, pins, {"job-*": "jobs"})
    old = cgroup.child("job-old")
    with accounting(options) as accountant:
        sent = datagrams(old, old).octets
        totals(accountant)
    datagrams(old, old)
    new = cgroup.child("job-new")

    def run() -> None:
        accountant = Accountant(options)
        accountant.start()
        datagrams(new, new)
        removed = {old.id, new.id}
        for job in (old, new):
            job.remove()
        changes = accountant._roster.changes
        wait_for(
            lambda: removed <= {one.cgroup_id for one, _ in changes if isinstance(one, Removed)},
            "both removals",
        )

    killed(run)
    with accounting(options) as accountant:
        assert octets(accountant, "jobs") == 3 * sent


def test_counters_that_began_anew_are_added_once(
    cgroup: Cgroup, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the new ones, what was received is more than before already, what was sent is less."""
    app, other = cgroup.child("app"), cgroup.child("other")
    options = config(cgroup, pins, {"app": "app"})
    with accounting(options) as accountant:
        received = sent = datagrams(app, app, count=5).octets
        assert totals(accountant)["app"] == (received, 5, sent, 5)
    (pins / "v1-32/counters").unlink()
    attach = Links.attach

    def and_then_receive(links: Links, one: Any) -> None:
        attach(links, one)
        datagrams(other, app)

    with monkeypatch.context() as patch:
        patch.setattr(Links, "attach", and_then_receive)
        accountant = Accountant(options)
        accountant.start()
    received += datagrams(other, app).octets * 2
    with contextlib.closing(accountant):
        assert totals(accountant)["app"] == (received, 5 + 46, sent, 5)
        sent += datagrams(app, other).octets
        assert totals(accountant)["app"] == (received, 5 + 46, sent, 5 + 23)


def test_a_link_that_was_detached_by_hand_is_replaced(
    cgroup: Cgroup, pins: Path, records: list[Any]
) -> None:
    app, options = cgroup.child("app"), config(cgroup, pins, {"app": "app"})
    with accounting(options) as accountant:
        sent = datagrams(app, app).octets
        totals(accountant)
    pin = str(pins / f"v1-32/{app.id}-egress")
    subprocess.run(["bpftool", "link", "detach", "pinned", pin], check=True)
    assert attached(app.path) == ["count_ingress"]
    with accounting(options) as accountant:
        assert octets(accountant, "app") == sent
    sent += datagrams(app, app).octets
    assert [line.getMessage() for line in records if line.levelno > 20] == []
    with accounting(options) as accountant:
        assert octets(accountant, "app") == sent


def test_a_kill_while_an_upper_one_is_let_go_loses_nothing_of_the_lower(
    cgroup: Cgroup, upper: Cgroup, lower: Cgroup, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with accounting(config(cgroup, pins, {UPPER: "one", LOWER: "one"})) as accountant:
        sent = datagrams(lower, lower).octets
        totals(accountant)
    later = config(cgroup, pins, {LOWER: "one"})
    with monkeypatch.context() as patch:
        patch.setattr(Links, "detach", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        killed(lambda: Accountant(later).start())
    sent += datagrams(lower, lower).octets
    with accounting(later) as accountant:
        assert octets(accountant, "one") == sent
        assert attached(upper.path) == []


def test_a_link_that_nobody_knows_and_no_rule_names_is_let_go_and_begins_at_zero(
    cgroup: Cgroup, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, options = cgroup.child("app"), config(cgroup, pins, {"app": "app"})
    with monkeypatch.context() as patch:
        patch.setattr(Continuity, "commit", lambda *_: None)
        patch.setattr(Continuity, "note", lambda *_: 0)
        killed(lambda: Accountant(options).start())
    datagrams(app, app)
    assert links(pins) == {app.id: {"ingress", "egress"}}
    with accounting(config(cgroup, pins, {"other": "other"})):
        assert links(pins) == {}
        assert attached(app.path) == []
    with accounting(options) as accountant:
        sent = datagrams(app, app).octets
        assert octets(accountant, "app") == sent


def test_what_is_sent_while_it_is_let_go_does_not_come_back(cgroup: Cgroup, pins: Path) -> None:
    app = cgroup.child("app")
    with sink() as port:
        sender = Sender(app, port, 5000)
        with accounting(config(cgroup, pins, {"app": "app"})) as accountant:
            totals(accountant)
        with accounting(config(cgroup, pins, {"other": "other"})) as accountant:
            sent = octets(accountant, "app")
            assert attached(app.path) == []
        sender.stop()
    with accounting(config(cgroup, pins, {"app": "app"})) as accountant:
        assert octets(accountant, "app") == sent


def test_an_end_after_a_start_that_failed_loses_nothing(
    cgroup: Cgroup, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, sent = config(cgroup, pins, {"job-*": "jobs"}), 0
    with accounting(options) as accountant:
        for number in range(3):
            job = cgroup.child(f"job-{number}")
            wait_for(lambda: accountant.sample().cgroups == 1, "it")
            sent += datagrams(job, job).octets
            job.remove()
            wait_for(lambda: accountant.sample().cgroups == 0, "its end")
        assert octets(accountant, "jobs") == sent
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise MemoryError

        patch.setattr(Accountant, "_take_over", fail)
        accountant = Accountant(options)
        with pytest.raises(MemoryError):
            accountant.start()
        accountant.close()
    with accounting(options) as accountant:
        assert octets(accountant, "jobs") == sent


def test_a_cgroup_that_cannot_even_be_opened_is_not_let_go(
    cgroup: Cgroup, pins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, options = cgroup.child("app"), config(cgroup, pins, {"app": "app"})
    with accounting(options) as accountant:
        sent = datagrams(app, app).octets
        totals(accountant)
    real = os.open

    def no_descriptor(path: Any, *words: Any, **options: Any) -> int:
        if isinstance(path, bytes) and path.endswith(b"/app"):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", no_descriptor)
        accountant = Accountant(options)
        accountant.start()
    with contextlib.closing(accountant):
        assert links(pins) == {app.id: {"ingress", "egress"}}
        sent += datagrams(app, app).octets
        assert octets(accountant, "app") == sent


def test_another_root_of_the_tree_changes_no_total(cgroup: Cgroup, pins: Path) -> None:
    x = cgroup.child("x")
    y = x.child("y")
    above = config(cgroup, pins, {"x": "one", "x/y/z": "one"})
    with accounting(above) as accountant:
        sent = datagrams(x, x).octets
        assert octets(accountant, "one") == sent
    selections = (Selection("x", "one"), Selection("x/y/z", "one"))
    inside = Config(cgroups=selections, pin_path=str(pins), cgroup_root=str(cgroup.path))
    with accounting(inside) as accountant:
        z = y.child("z")
        wait_for(lambda: accountant.sample().cgroups == 2, "the one below")
        sent += datagrams(z, z).octets
        assert octets(accountant, "one") == sent
