# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Cgroups that a test makes, sockets and processes in them, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Return the first true result of ``condition``; AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.002)


_libc = ctypes.CDLL(None, use_errno=True)
_NO_FLAGS = ctypes.c_ulong(0)


def _checked(result: int, subject: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject)


def _mount_points() -> list[Path]:
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        halves = [line.split(" - ") for line in file]
    return [Path(left.split(" ")[4]) for left, right in halves if right.startswith("cgroup2 ")]


def mount_point() -> Path:
    """Return where cgroup2 is mounted."""
    paths = _mount_points()
    assert paths, "cgroup2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup"
    return paths[0]


@contextlib.contextmanager
def cgroup2() -> Iterator[None]:
    """Mount cgroup2 for the time of the block, if it is not mounted already."""
    if _mount_points():
        yield
        return
    directory = tempfile.mkdtemp(prefix="cgacct-cgroup2-")
    try:
        # By system call: a minimal Debian has no mount(8).
        # int mount(const char *, const char *, const char *, unsigned long, const void *);
        _checked(_libc.mount(b"none", directory.encode(), b"cgroup2", _NO_FLAGS, None), directory)
        try:
            yield
        finally:
            # int umount(const char *target);
            _checked(_libc.umount(directory.encode()), directory)
    finally:
        os.rmdir(directory)


class Cgroup:
    """One cgroup directory of a test."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def relative(self) -> str:
        """The path relative to the mount point, as collectd.conf names it."""
        return str(self.path.relative_to(mount_point()))

    @property
    def id(self) -> int:
        return self.path.stat().st_ino

    def child(self, name: str) -> Cgroup:
        """Make a cgroup below this one."""
        path = self.path / name
        path.mkdir()
        return Cgroup(path)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put this process into the cgroup; the sockets that it makes inside belong to it."""
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            home = next(line[3:].strip() for line in file if line.startswith("0::"))
        try:
            self._enter()
            yield
        finally:
            (mount_point() / home.lstrip("/") / "cgroup.procs").write_text("0", "ascii")

    def _enter(self) -> None:
        (self.path / "cgroup.procs").write_text("0", "ascii")

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        """Start ``command`` inside the cgroup."""
        return subprocess.Popen(command, preexec_fn=self._enter, **options)

    def remove(self) -> None:
        """End what runs in the cgroup and below, and remove it all; nothing there is fine."""
        for directory, _, _ in os.walk(self.path, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                for pid in Path(directory, "cgroup.procs").read_text("ascii").split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                wait_for(functools.partial(_removed, directory), f"the end of {directory}")


def _removed(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def own_prefix(purpose: str = "test") -> str:
    """Return how the names of this process's cgroups begin: others may test beside it."""
    return f"cgacct-{purpose}-{os.getpid()}-"


@contextlib.contextmanager
def temporary_cgroup(purpose: str = "test") -> Iterator[Cgroup]:
    """Make a cgroup of an unused name at the top; remove it and all below it in the end."""
    path = Path(tempfile.mkdtemp(prefix=own_prefix(purpose), dir=mount_point()))
    path.chmod(0o755)
    cgroup = Cgroup(path)
    try:
        yield cgroup
    finally:
        cgroup.remove()
