# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The files below PinPath: whose they are, which there are, and their removal.

    PinPath/<layout>/counters ledger journal        maps
    PinPath/<layout>/<cgroup id>-ingress -egress    links

The owner holds flock(2) on the directory PinPath. Only files and directories of exactly
these names are ever removed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import stat
import time
from collections.abc import Iterator

from . import libbpf, mountinfo
from .bpf import DIRECTIONS
from .counters import VERSION, Layout
from .errors import CgacctError, operation, remedy
from .logs import NOTICE
from .text import encode, quote

logger = logging.getLogger(__name__)

COUNTERS, LEDGER, LEDGER_NEW, JOURNAL = "counters", "ledger", "ledger-new", "journal"
# The kernel's names of the maps; in the order of their removal: should it be cut short, no
# sum may be left that goes on.
MAP_NAMES = {
    LEDGER: "cgacct_ledger",
    LEDGER_NEW: "cgacct_ledger",
    JOURNAL: "cgacct_journal",
    COUNTERS: "counters",
}

_LAYOUT = re.compile(r"v[0-9]+-[0-9]+(-[a-z]+)*")
_LINK = re.compile(r"([1-9][0-9]*)-(ingress|egress)")
_MODE = 0o700

_USUAL = "/sys/fs/bpf"
# Seconds between two attempts to lock.
_PAUSE = 0.1


def _native(path: str) -> str:
    """Return a path whose bytes do not depend on the locale: see text.py."""
    return os.path.normpath(os.fsdecode(encode(path)))


class PinError(CgacctError):
    """PinPath cannot be used."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"cannot use PinPath {quote(path)}: {why}")


class Held(PinError):
    """Another process owns PinPath."""

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(path, f"{holder} holds the lock on it")


@contextlib.contextmanager
def using(path: str) -> Iterator[None]:
    """Turn an OSError into a PinError that tells the mend."""
    try:
        yield
    except OSError as error:
        raise PinError(path, _why(error)) from error


_MENDS = {
    errno.EROFS: "remount it: mount -o remount,rw on the bpffs",
    errno.EACCES: "run collectd as the user that it belongs to",
    errno.EPERM: "a name in a bpffs cannot have a dot",
    errno.ENOTDIR: "name a directory",
    errno.EEXIST: "name a directory",
}


def _why(error: OSError) -> str:
    why = error.strerror or str(error)
    number = error.errno or 0
    mend = _MENDS.get(number) or remedy("", number)
    return f"{why}; {mend}" if mend else why


def layout_name(layout: Layout) -> str:
    """Return the name of the directory for counters of this layout; a bpffs takes no dots."""
    return "-".join((f"v{VERSION}", str(layout.size), *layout.splits))


class PinDirectory:
    """PinPath, locked until close()."""

    def __init__(self, path: str, patience: float = 0.0, purge: bool = False) -> None:
        """Make it unless ``purge``; wait ``patience`` seconds for a short-lived owner to end.

        Raises PinError; Held if it has an owner.
        """
        self.path = _native(path)
        self._fd = -1
        self._purge = purge
        deadline = time.monotonic() + patience
        with using(self.path):
            self._check()
            while self._fd < 0:
                try:
                    self._lock()
                except Held:
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(_PAUSE)

    def _check(self) -> None:
        existing = self.path
        while not os.path.lexists(existing):
            existing = os.path.dirname(existing)
        every = mountinfo.parse(mountinfo.read())
        mounts = {one.device: one.path for one in every if one.type == "bpf"}
        if os.stat(existing).st_dev in mounts:
            if os.path.ismount(self.path):
                raise PinError(self.path, "it is a mount point; name a directory below it")
            if os.statvfs(existing).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        elif _USUAL in mounts.values():
            raise PinError(self.path, f"it is not in a bpffs; there is one at {_USUAL}")
        else:
            why = f"it is not in a bpffs; mount one: mount -t bpf bpf {_USUAL}"
            raise PinError(self.path, why)

    def _lock(self) -> None:
        if not self._purge:
            os.makedirs(self.path, _MODE, exist_ok=True)
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._take(fd)
            # Its last owner may have removed it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self.path), os.fstat(fd)):
                    self._fd, fd = fd, -1
        finally:
            if fd >= 0:
                os.close(fd)

    def _take(self, fd: int) -> None:
        status = os.fstat(fd)
        # root may clean up behind others.
        if status.st_uid != os.geteuid() and not (self._purge and os.geteuid() == 0):
            why = f"it belongs to user {status.st_uid}; remove it, or name another"
            raise PinError(self.path, why)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(self.path, _holder(status)) from None
        if status.st_mode & 0o077 and not self._purge:
            os.chmod(self.path, _MODE)

    def make(self, layout: Layout) -> str:
        """Make the directory of a layout unless it is there; return its path.

        Links are removed if somebody has removed the counters: they count for nobody.
        Raises PinError.
        """
        path = os.path.join(self.path, layout_name(layout))
        with using(path):
            os.makedirs(path, _MODE, exist_ok=True)
            os.chmod(path, _MODE)
            found = set(os.listdir(path))
            for name in found & MAP_NAMES.keys():
                fd = _open_ours(path, name)
                if fd < 0:
                    raise PinError(os.path.join(path, name), "it is not this plugin's; remove it")
                os.close(fd)
            if COUNTERS not in found:
                for name in filter(_LINK.fullmatch, found):
                    remove(path, name)
            if LEDGER in found and COUNTERS not in found:
                logger.log(
                    NOTICE,
                    "the counters in %s were removed: what came since the last read is lost",
                    quote(path),
                )
        return path

    def others(self, layout: Layout) -> list[str]:
        """Return the paths of the directories of other layouts. Raises PinError."""
        with using(self.path):
            names = [name for name in _layouts(self.path) if name != layout_name(layout)]
        return [os.path.join(self.path, name) for name in names]

    def has(self, path: str, inode: int) -> bool:
        """Return whether the pin at ``path`` is there, whatever is mounted over PinPath.

        So it is said to be in doubt.
        """
        try:
            relative = os.path.relpath(path, self.path)
            return os.stat(relative, dir_fd=self._fd).st_ino == inode
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)

    def close(self) -> None:
        """Unlock; twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _holder(status: os.stat_result) -> str:
    """Say who has locked the file, as proc_locks(5) has it."""
    major, minor = os.major(status.st_dev), os.minor(status.st_dev)
    place = f"{major:02x}:{minor:02x}:{status.st_ino}"
    with contextlib.suppress(OSError), open("/proc/locks", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[1] == "FLOCK" and words[5] == place:
                return _process(int(words[4]))
    return "another process"


def _process(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", "rb") as file:
        return f"process {pid} ({file.read().strip().decode('utf-8', 'replace')})"
    return f"process {pid}"


def _layouts(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(
            entry.name
            for entry in entries
            if _LAYOUT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        )


def links(directory: str) -> dict[int, set[str]]:
    """Return the links in a layout's directory: cgroup id to directions. Raises OSError."""
    found: dict[int, set[str]] = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            match = _LINK.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False):
                found.setdefault(int(match[1]), set()).add(match[2])
    return found


def link_name(cgroup_id: int, direction: str) -> str:
    """Return the name of the file of a link."""
    return f"{cgroup_id}-{direction}"


def _open_ours(directory: str, name: str) -> int:
    """Open what is pinned there if it is what the name says; -1 if not. Raises OSError."""
    path = os.path.join(directory, name)
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return -1
    fd = libbpf.open_pin(path)
    if name in MAP_NAMES:
        ours = libbpf.map_name(fd) == MAP_NAMES[name]
    else:
        link, found = _LINK.fullmatch(name), libbpf.cgroup_link(fd)
        # The kernel has forgotten the cgroup if it is gone.
        ours = link is not None and found in [
            (cgroup_id, DIRECTIONS[link[2]]) for cgroup_id in (int(link[1]), 0)
        ]
    if not ours:
        os.close(fd)
    return fd if ours else -1


def remove(directory: str, name: str) -> bool:
    """Remove a file of ours; return whether it was there, and ours. Raises OSError.

    A link is detached at once, not when the kernel comes to it.
    """
    with contextlib.suppress(FileNotFoundError):
        fd = _open_ours(directory, name)
        if fd >= 0:
            try:
                if name not in MAP_NAMES:
                    libbpf.link_detach(fd)
                os.unlink(os.path.join(directory, name))
            finally:
                os.close(fd)
            return True
    return False


def remove_layout(directory: str) -> int:
    """Remove our files in a layout's directory, and it if nothing else is in it.

    Returns how many files there were. Raises OSError.
    """
    names = os.listdir(directory)
    ours = [name for name in MAP_NAMES if name in names]
    ours += [name for name in names if _LINK.fullmatch(name)]
    removed = sum(remove(directory, name) for name in ours)
    _remove_directory(directory)
    return removed


def _remove_directory(path: str) -> None:
    try:
        os.rmdir(path)
    except OSError as error:
        # ENOTDIR: a symbolic link to it.
        if error.errno not in (errno.ENOTEMPTY, errno.ENOENT, errno.ENOTDIR):
            raise


def purge(path: str, force: bool = False) -> int:
    """Remove all that is ours at and below ``path``; return how many pins there were.

    Raises PinError: Held if a process uses them, unless ``force``; OperationError without libbpf.
    """
    with operation("find libbpf", ""):
        libbpf.load()
    path = _native(path)
    with contextlib.ExitStack() as stack, using(path):
        try:
            os.stat(path)
        except FileNotFoundError:
            return 0
        try:
            stack.callback(PinDirectory(path, purge=True).close)
        except Held:
            if not force:
                raise
        removed = sum(remove_layout(os.path.join(path, name)) for name in _layouts(path))
        _remove_directory(path)
    return removed
