# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The cgroup2 hierarchy: where it is mounted, and which id a directory has."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from . import mountinfo
from .errors import CgacctError, OperationError
from .text import decode, encode, quote

# The directory went away between the event and the call.
VANISHED = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV)


@dataclass(frozen=True)
class Mount:
    """A mount of a cgroup file system; ``whole`` unless only a part of it is mounted."""

    device: int
    path: str
    version: int
    whole: bool = True


_VERSIONS = {"cgroup": 1, "cgroup2": 2}


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the cgroup mounts in ``text``, in the format of proc_pid_mountinfo(5)."""
    return [
        Mount(one.device, one.path, _VERSIONS[one.type], one.root == "/")
        for one in mountinfo.parse(text)
        if one.type in _VERSIONS
    ]


@dataclass(frozen=True)
class Cgroup:
    """A cgroup directory held open: its id, never only its path, says which one it is."""

    path: str
    id: int
    fd: int

    def __enter__(self) -> Cgroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.fd)


def join(path: str, name: bytes) -> str:
    """Return the path of ``name`` in the cgroup ``path``."""
    return f"{path}/{decode(name)}" if path else decode(name)


class Hierarchy:
    """The cgroup2 tree below one directory. Paths are relative to it; its own is ""."""

    def __init__(self, root: str = "") -> None:
        """Take the tree at ``root``, or at the first mount of cgroup2; raises CgacctError."""
        mounts = parse_mountinfo(mountinfo.read())
        self._v1 = [mount.path for mount in mounts if mount.version == 1]
        v2 = sorted((m for m in mounts if m.version == 2), key=lambda m: not m.whole)
        if not v2:
            raise CgacctError(
                "cannot find cgroup2: /proc/self/mountinfo has no mount of it; "
                "boot with systemd.unified_cgroup_hierarchy=1, "
                "or mount it: mount -t cgroup2 none /sys/fs/cgroup"
            )
        self._devices = {mount.device for mount in v2}
        self.root = os.path.normpath(root) if root else v2[0].path
        self._check_root(v2[0].path)

    def _check_root(self, mount_point: str) -> None:
        try:
            status = os.stat(self.full(""))
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
            f"cannot use {quote(self.root)} as the root of all cgroups: {why}; "
            f"set CGroupRoot to where cgroup2 is mounted: {mount_point}"
        )

    def full(self, path: str) -> bytes:
        """Return the absolute path, as the kernel takes it."""
        return encode(f"{self.root}/{path}" if path else self.root)

    def open(self, path: str) -> Cgroup:
        """Open the cgroup at ``path``, for use in a with statement.

        Raises OperationError: ENOENT if it is not there (yet), ENOTDIR for a file,
        EBADF for a directory of another file system.
        """
        subject = quote(path or "/")
        try:
            fd = os.open(self.full(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OperationError("open cgroup", subject, error.errno or errno.EIO) from error
        status = os.fstat(fd)
        if status.st_dev not in self._devices:
            os.close(fd)
            raise OperationError("open cgroup", subject, errno.EBADF, "not in cgroup2")
        return Cgroup(path, status.st_ino, fd)

    def is_at(self, path: str, cgroup_id: int) -> bool:
        """Return whether the cgroup is still at ``path``; so it is said to be in doubt."""
        try:
            return os.stat(self.full(path)).st_ino == cgroup_id
        except OSError as error:
            return error.errno not in VANISHED

    def children(self, path: str) -> Iterator[tuple[str, int]]:
        """Yield path and id of each cgroup directly below ``path``; none if it is gone."""
        try:
            with os.scandir(self.full(path)) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        yield join(path, entry.name), entry.inode()
        except OSError:
            return

    def objection(self, text: str) -> str:
        """Return why nothing can ever be attached at the path ``text`` as written, or ""."""
        inside = text.startswith(self.root + "/")
        for v1 in self._v1:
            if not inside and (text + "/").startswith(v1 + "/"):
                return (
                    f"{v1} is a cgroup v1 hierarchy; "
                    f"name a cgroup below {self.root}, where cgroup2 is mounted"
                )
        path = text[len(self.root) :] if inside else text
        if "\0" not in path and os.path.isfile(self.full(path.strip("/"))):
            return "it is a file; name the directory that it is in"
        return ""
