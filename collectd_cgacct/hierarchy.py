# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The cgroup2 hierarchy: where it is mounted, and which id a directory has."""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass

from .errors import CgacctError, OperationError

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mount of a cgroup file system."""

    device: int
    path: str
    version: int


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the cgroup mounts in ``text``, in the format of proc_pid_mountinfo(5)."""
    mounts = []
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        kind = right.split(" ", 1)[0]
        if not separator or kind not in ("cgroup", "cgroup2"):
            continue
        _id, _parent, device, _root, path = left.split(" ")[:5]
        major, minor = device.split(":")
        path = _OCTAL.sub(lambda found: chr(int(found[1], 8)), path)
        path = os.fsdecode(path.encode("utf-8", "surrogateescape"))
        version = 2 if kind == "cgroup2" else 1
        mounts.append(Mount(os.makedev(int(major), int(minor)), path, version))
    return mounts


def _mounts() -> list[Mount]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return parse_mountinfo(file.read())


@dataclass(frozen=True)
class Cgroup:
    """A cgroup directory held open: its id, never only its path, says which one it is."""

    path: str
    id: int
    fd: int

    def close(self) -> None:
        """Let the directory go."""
        os.close(self.fd)


class Hierarchy:
    """The cgroup2 tree below one directory."""

    def __init__(self, root: str = "") -> None:
        """Take the tree at ``root``, or at the first mount of cgroup2; raises CgacctError."""
        mounts = _mounts()
        self._devices = {mount.device for mount in mounts if mount.version == 2}
        self._v1 = [mount.path for mount in mounts if mount.version == 1]
        mount_points = [mount.path for mount in mounts if mount.version == 2]
        if not mount_points:
            raise CgacctError(
                "cgroup2 is not mounted: nothing in /proc/self/mountinfo; "
                "boot with systemd.unified_cgroup_hierarchy=1, "
                "or mount it: mount -t cgroup2 none /sys/fs/cgroup"
            )
        self.root = os.path.normpath(root) if root else mount_points[0]
        self._check_root(mount_points[0])

    def _check_root(self, mount_point: str) -> None:
        try:
            status = os.stat(self.root)
        except OSError as error:
            why = error.strerror
        else:
            if not stat.S_ISDIR(status.st_mode):
                why = "not a directory"
            elif status.st_dev not in self._devices:
                why = "not in a cgroup2 file system"
            else:
                return
        raise CgacctError(
            f'cannot use CGroupRoot "{self.root}": {why}; cgroup2 is mounted at {mount_point}'
        )

    def relative(self, path: str) -> str:
        """Return ``path`` relative to the root: "" for the root itself.

        A leading slash and the root as a prefix are dropped; raises CgacctError for
        a path in a cgroup v1 hierarchy, which nothing can be attached to.
        """
        path = os.path.normpath(path)
        if path == self.root:
            return ""
        if path.startswith(self.root + "/"):
            return path[len(self.root) + 1 :]
        for v1 in self._v1:
            if path == v1 or path.startswith(v1 + "/"):
                raise CgacctError(
                    f'cannot account cgroup "{path}": {v1} is a cgroup v1 hierarchy; '
                    f"name a cgroup below {self.root}, where cgroup2 is mounted"
                )
        return path.strip("/")

    def open(self, path: str) -> Cgroup:
        """Open the cgroup at ``path``, relative to the root.

        Raises OperationError: ENOENT if it is not there (yet), ENOTDIR for a file,
        EBADF for a directory of another file system, cgroup v1 among them.
        """
        subject = f'"{path or "/"}"'
        full = os.path.join(self.root, path)
        try:
            fd = os.open(full, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OperationError("open cgroup", subject, error.errno or errno.EIO) from error
        status = os.fstat(fd)
        if status.st_dev not in self._devices:
            os.close(fd)
            raise OperationError("open cgroup", subject, errno.EBADF, "not in cgroup2")
        return Cgroup(path, status.st_ino, fd)
