# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The watcher on the real cgroup tree: what appears and vanishes is reported at once."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from collectd_cgacct import watcher as watcher_module
from collectd_cgacct.hierarchy import Hierarchy
from collectd_cgacct.inotify import Inotify
from collectd_cgacct.watcher import Watcher
from tests.support.cgroups import Cgroup, temporary_cgroup, wait_for


class Record:
    """A listener that knows what there is, and looks below all but "closed" directories."""

    def __init__(self, top: str) -> None:
        self.top = top
        self.there: set[str] = set()
        self.asked: list[str] = []
        self.walks = 0
        self.fail = False

    def relevant_below(self, path: str) -> bool:
        inside = f"{path}/".startswith(f"{self.top}/") and not path.endswith("closed")
        return inside or path == ""

    def appeared(self, path: str, cgroup_id: int) -> None:
        if self.fail:
            self.fail = False
            raise ZeroDivisionError("on purpose")
        if path.startswith(self.top):
            self.there.add(path[len(self.top) + 1 :])

    def removed(self, path: str) -> None:
        self.there.discard(path[len(self.top) + 1 :])

    def walked(self, paths: set[str]) -> bool:
        self.walks += 1
        self.there = {path[len(self.top) + 1 :] for path in paths if path.startswith(self.top)}
        return False


@pytest.fixture
def top() -> Iterator[Cgroup]:
    with temporary_cgroup() as cgroup:
        yield cgroup


@pytest.fixture
def record(top: Cgroup) -> Record:
    return Record(top.relative)


@contextlib.contextmanager
def watching(record: Record) -> Iterator[Watcher]:
    watcher = Watcher(Hierarchy(), record)
    watcher.start()
    try:
        yield watcher
    finally:
        watcher.stop()


def wait_for_tree(record: Record, expected: set[str]) -> None:
    wait_for(lambda: record.there - {""} == expected, f"{expected}, not {record.there}")


def test_what_is_there_at_start_is_known_when_start_returns(top: Cgroup, record: Record) -> None:
    top.child("a").child("b")
    with watching(record):
        assert record.there == {"", "a", "a/b"}


def test_what_appears_and_vanishes_is_reported(top: Cgroup, record: Record) -> None:
    with watching(record):
        child = top.child("a")
        wait_for_tree(record, {"a"})
        child.child("b")
        wait_for_tree(record, {"a", "a/b"})
        child.remove()
        wait_for_tree(record, set())
    assert record.walks == 1


def test_a_tree_made_at_once_is_reported_whole(top: Cgroup, record: Record) -> None:
    with watching(record):
        os.makedirs(top.path / "a/b/c/d/e")
        wait_for_tree(record, {"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"})
    assert record.walks == 1


def test_nothing_below_a_directory_that_does_not_matter_is_watched(
    top: Cgroup, record: Record
) -> None:
    closed = top.child("closed")
    with watching(record):
        closed.child("unseen")
        top.child("seen")
        wait_for_tree(record, {"closed", "seen"})


def test_a_queue_that_overflows_is_mended_by_a_walk(
    top: Cgroup, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watching(record):
        gate = threading.Event()
        monkeypatch.setattr(record, "relevant_below", _blocking(record.relevant_below, gate))
        top.child("first")
        queue = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text("ascii"))
        other = top.child("other")
        for _ in range(queue // 2 + 100):
            other.path.rmdir()
            other.path.mkdir()
        gate.set()
        wait_for_tree(record, {"first", "other"})
        wait_for(lambda: record.walks > 1, "a walk")


def _blocking(function: Callable[[str], bool], gate: threading.Event) -> Callable[[str], bool]:
    def wait(path: str) -> bool:
        gate.wait(30)
        return function(path)

    return wait


def test_without_watches_new_cgroups_are_found_by_walking(
    top: Cgroup, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The real limit is one for all of root's processes: it is not the test's to reach.
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Inotify, "add", refuse)
    monkeypatch.setattr(watcher_module, "ANXIOUS", 0.05)
    caplog.set_level("WARNING")
    monkeypatch.setattr(watcher_module.logger.parent, "propagate", True)
    with watching(record):
        top.child("a")
        wait_for_tree(record, {"a"})
        wait_for(lambda: record.walks > 3, "more walks")
    (warning,) = caplog.messages
    assert "fs.inotify.max_user_watches" in warning


def test_an_error_in_the_listener_does_not_end_the_watch(
    top: Cgroup, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_module, "ANXIOUS", 0.05)
    with watching(record):
        record.fail = True
        top.child("a")
        wait_for_tree(record, {"a"})


def test_stop_ends_the_thread_within_a_second(record: Record) -> None:
    with watching(record):
        begin = time.monotonic()
    assert time.monotonic() - begin < 1
    assert "cgacct watcher" not in {thread.name for thread in threading.enumerate()}


def test_between_events_the_thread_does_not_run_at_all(
    top: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With the test's own cgroup as the root: others may make cgroups beside it.
    record = Record("")
    monkeypatch.setattr(record, "relevant_below", lambda path: path == "")
    watcher = Watcher(Hierarchy(str(top.path)), record)
    watcher.start()
    try:
        (thread,) = (t for t in threading.enumerate() if t.name == "cgacct watcher")
        status = Path(f"/proc/self/task/{thread.native_id}/status")
        wait_for(lambda: "S (sleeping)" in status.read_text("ascii"), "sleep")

        def switches() -> list[str]:
            return [line for line in status.read_text("ascii").splitlines() if "ctxt" in line]

        before = switches()
        time.sleep(0.5)
        assert switches() == before
    finally:
        watcher.stop()


def test_stop_does_not_wait_for_the_end_of_a_walk(top: Cgroup, record: Record) -> None:
    for number in range(200):
        top.child(str(number))
    with watching(record) as watcher:
        walking = threading.Event()

        def slow(path: str, cgroup_id: int) -> None:
            walking.set()
            time.sleep(0.05)

        record.appeared = slow  # type: ignore[method-assign]
        watcher._next_walk = 0.0
        top.child("wakes-it")
        assert walking.wait(10)
        begin = time.monotonic()
    assert time.monotonic() - begin < 1
