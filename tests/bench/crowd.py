# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Thousands of cgroups, a socket in each, and the means to account them all."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import resource
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from collectd_cgacct import bpf
from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection
from tests.support.cgroups import Cgroup, temporary_cgroup

from .objects import library

_CLONE_NEWNS = 0x00020000


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
def accounting(members: Crowd) -> Iterator[Accountant]:
    """Account all members and those that join them, without collectd."""
    accountant = Accountant(Config(cgroups=(Selection(f"{members.parent.relative}/*"),)))
    try:
        accountant.start()
        yield accountant
    finally:
        accountant.close()


@contextlib.contextmanager
def room_for(cgroups: int) -> Iterator[bool]:
    """Let ``cgroups`` be attached in spite of the limit on open files; yield whether pins help.

    Each has two links, and so two descriptors, beside the crowd's sockets. If they are
    more than the hard limit allows, the links are held by pins in a bpffs of this process
    alone. Reading does not touch links: its cost is the same.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 3 * cgroups + 2048 < hard:
        yield False
        return
    with (
        _private_bpffs() as directory,
        mock.patch.object(bpf.Object, "attach", _pinning(directory)),
    ):
        yield True


def _pinning(directory: Path) -> object:
    attach, pin = bpf.Object.attach, library().bpf_obj_pin
    number = itertools.count()

    def attach_and_pin(self: bpf.Object, cgroup_fd: int, subject: str) -> bpf.Link:
        link = attach(self, cgroup_fd, subject)
        for fd in link._descriptors:
            pin(fd, os.fsencode(directory / str(next(number))))
        link.close()
        return link

    return attach_and_pin


@contextlib.contextmanager
def _private_bpffs() -> Iterator[Path]:
    # In a mount namespace of its own it goes with the process, whatever ends that.
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    with tempfile.TemporaryDirectory(prefix="cgacct-bench-") as directory:
        subprocess.run(["mount", "-t", "bpf", "none", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", directory], check=True)
