# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Cgroups that a test makes, sockets and processes in them, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator


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


def mount_point() -> Path:
    """Return where cgroup2 is mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if right.startswith("cgroup2 "):
                return Path(left.split(" ")[4])
    raise AssertionError("cgroup2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup")


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
        self._enter()
        try:
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
                wait_for(lambda d=directory: _removed(d), f"the end of {directory}")


def _removed(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def temporary_cgroup() -> Iterator[Cgroup]:
    """Make a cgroup of an unused name at the top; remove it and all below it in the end."""
    path = Path(tempfile.mkdtemp(prefix="cgacct-test-", dir=mount_point()))
    cgroup = Cgroup(path)
    try:
        yield cgroup
    finally:
        cgroup.remove()
