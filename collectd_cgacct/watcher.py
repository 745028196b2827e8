# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Tells at once which cgroups appear and vanish: one thread that sleeps between events.

Only the directories under which something can still match are watched. The tree is
walked at start, when the kernel's queue overflowed, and as a slow safety net.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from typing import Callable, Protocol

from .hierarchy import Hierarchy, join
from .inotify import (
    IN_CREATE,
    IN_DELETE,
    IN_IGNORED,
    IN_ISDIR,
    IN_ONLYDIR,
    IN_Q_OVERFLOW,
    Event,
    Inotify,
)
from .logs import NOTICE

logger = logging.getLogger(__name__)

_MASK = IN_CREATE | IN_DELETE | IN_ONLYDIR
# Seconds between walks: with inotify at work, and where something is wrong with it or
# the listener wants to try again.
CALM, ANXIOUS = 60.0, 5.0

_LIMITS = {
    errno.ENOSPC: "raise the sysctl fs.inotify.max_user_watches",
    errno.EMFILE: "raise the sysctl fs.inotify.max_user_instances",
}


class Listener(Protocol):
    """What the watcher reports to, from its own thread alone once started."""

    def relevant_below(self, path: str) -> bool:
        """Return whether a cgroup below ``path`` can matter."""

    def appeared(self, path: str, cgroup_id: int) -> None:
        """Hear of a cgroup, known or not; the id is 0 where it is not known yet."""

    def removed(self, path: str) -> None:
        """Hear that the directory was removed; another may have its path by now."""

    def walked(self, paths: set[str]) -> bool:
        """Hear of all that a walk found; return whether to walk again soon."""


class Watcher:
    """Watches the hierarchy for a listener."""

    def __init__(self, hierarchy: Hierarchy, listener: Listener) -> None:
        self._hierarchy = hierarchy
        self._listener = listener
        self._inotify: Inotify | None = None
        self._paths: dict[int, str] = {}
        self._anxious = False
        self._complaint = 0
        self._stopped = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="cgacct watcher", daemon=True)
        self._next_walk = 0.0

    def start(self, then: Callable[[], object] = lambda: None) -> None:
        """Walk the tree in this thread, call ``then``, and go on in another thread."""
        try:
            self._inotify = Inotify()
        except OSError as error:
            self._degraded(error)
        self._walk()
        then()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, within the time that one cgroup takes; twice is fine."""
        if self._stopped:
            return
        self._stopped = True
        os.write(self._wake_write, b"x")
        if self._thread.ident:
            self._thread.join()
        for fd in (self._wake_read, self._wake_write):
            os.close(fd)
        if self._inotify:
            self._inotify.close()

    def _run(self) -> None:
        # A signal that lands in this thread would not wake collectd's main loop.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        _go_first()
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._inotify:
            poll.register(self._inotify.fd, select.POLLIN)
        while True:
            ready = poll.poll(max(0.0, self._next_walk - time.monotonic()) * 1000)
            if any(fd == self._wake_read for fd, _ in ready):
                return
            try:
                self._step(bool(ready))
            except Exception as error:
                # The next walk mends what this step has missed.
                logger.error("watching cgroups failed: %r; please report this", error)
                self._next_walk = time.monotonic() + ANXIOUS

    def _step(self, events: bool) -> None:
        if events and self._inotify:
            for event in self._inotify.read():
                if self._stopped:
                    return
                self._handle(event)
        if time.monotonic() >= self._next_walk:
            # A walk is long, and nobody waits for it.
            with _among_others():
                self._walk()

    def _handle(self, event: Event) -> None:
        if event.mask & IN_Q_OVERFLOW:
            logger.info("the inotify queue overflowed; walking the tree")
            self._next_walk = 0.0
        elif event.mask & IN_IGNORED:
            self._paths.pop(event.watch, None)
        elif event.mask & IN_ISDIR and event.watch in self._paths:
            path = join(self._paths[event.watch], event.name)
            if event.mask & IN_CREATE:
                self._listener.appeared(path, 0)
                self._enter(path, None)
            elif event.mask & IN_DELETE:
                self._listener.removed(path)

    def _walk(self) -> None:
        """Report every cgroup of the tree."""
        self._anxious = self._inotify is None
        # All are told anew; what an overflow has swallowed may be among the old.
        self._paths.clear()
        found = {""}
        self._listener.appeared("", 0)
        self._enter("", found)
        if self._stopped:
            return  # what was not found may be there
        again = self._listener.walked(found)
        if not self._anxious and self._complaint:
            self._complaint = 0
            logger.log(NOTICE, "new cgroups are noticed at once again")
        soon = again or self._anxious
        self._next_walk = time.monotonic() + (ANXIOUS if soon else CALM)

    def _enter(self, path: str, found: set[str] | None) -> None:
        """Watch ``path`` if need be, then report what is in it and below."""
        pending = [path]
        while pending:
            path = pending.pop()
            if not self._listener.relevant_below(path):
                continue
            # Watched before listed: what comes in between is reported twice, not missed.
            self._watch(path)
            for child, inode in self._hierarchy.children(path):
                if self._stopped:
                    return
                if found is not None:
                    found.add(child)
                self._listener.appeared(child, inode)
                pending.append(child)

    def _watch(self, path: str) -> None:
        if self._inotify is None:
            return
        try:
            self._paths[self._inotify.add(self._hierarchy.full(path), _MASK)] = path
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._degraded(error)

    def _degraded(self, error: OSError) -> None:
        self._anxious = True
        if self._complaint != error.errno:
            self._complaint = error.errno or errno.EIO
            mend = _LIMITS.get(self._complaint, "")
            logger.warning(
                "cannot watch cgroups with inotify: %s; %snew ones are found every %g s instead",
                error.strerror,
                mend + "; " if mend else "",
                ANXIOUS,
            )


def _go_first() -> None:
    """Let this thread run as soon as there is an event, on a busy machine too.

    What a new cgroup sends before its programs are attached is not counted. The thread
    sleeps but for some 50 microseconds a new cgroup, and for walks, which do not go first.
    """
    with contextlib.suppress(OSError):
        # Needs CAP_SYS_NICE; without it the thread is one of many.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))


@contextlib.contextmanager
def _among_others() -> Iterator[None]:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
    try:
        yield
    finally:
        _go_first()
