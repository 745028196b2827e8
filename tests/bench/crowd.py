# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Thousands of cgroups, a socket in each, and the means to account them all."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection
from tests.support import private_mounts
from tests.support.bpffs import temporary_bpffs
from tests.support.cgroups import Cgroup, temporary_cgroup


class Crowd:
    """Cgroups below one parent; each holds a UDP socket that can send to the void."""

    def __init__(self, parent: Cgroup, members: list[Cgroup], sockets: list[socket.socket]) -> None:
        self.parent = parent
        self.ids = [member.id for member in members]
        self.paths = [member.relative for member in members]
        self._sockets = sockets
        self.sent = 0

    def send(self) -> None:
        """Send a datagram from each cgroup: all counters change."""
        for sock in self._sockets:
            sock.send(b"x" * 72)
        self.sent += 1


@contextlib.contextmanager
def crowd(count: int) -> Iterator[Crowd]:
    """Make ``count`` cgroups; remove them in the end."""
    with contextlib.ExitStack() as stack:
        parent = stack.enter_context(temporary_cgroup())
        # It belongs to no member, so that what arrives is not counted; it is never read.
        void = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        void.bind(("127.0.0.1", 0))
        members, sockets = [], []
        # Entered itself, so that this process is in no member when they are removed, even
        # if a signal strikes between two steps.
        with parent.entered():
            for number in range(count):
                member = parent.child(f"service-{number:05}.service")
                with member.entered():
                    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                sock.connect(void.getsockname())
                members.append(member)
                sockets.append(sock)
        yield Crowd(parent, members, sockets)


@contextlib.contextmanager
def accounting(members: Crowd, pins: Path | None) -> Iterator[Accountant]:
    """Account all members and those that join them, without collectd; ``pins`` for Persist."""
    selection = Selection(f"{members.parent.relative}/*")
    accountant = Accountant(
        Config(cgroups=(selection,), persist=pins is not None, pin_path=str(pins or ""))
    )
    try:
        accountant.start()
        yield accountant
    finally:
        accountant.close()


@contextlib.contextmanager
def pin_path() -> Iterator[Path]:
    """Yield a PinPath in a bpffs of this process alone; raise the limit on open files."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # In a mount namespace of its own it goes with the process, whatever ends that.
    private_mounts.enter()
    with temporary_bpffs() as bpffs:
        yield bpffs / "pins"
