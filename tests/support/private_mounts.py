# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Run a command in mounts of its own: what it mounts and unmounts is seen by nobody else.

Not unshare(1): in a chroot whose root is no mount point, that cannot make the mounts private.
"""

from __future__ import annotations

import ctypes
import os
import sys

# <linux/sched.h>, <linux/mount.h>
_CLONE_NEWNS = 0x00020000
_MS_PRIVATE = 1 << 18

# The words that begin the command line.
PRIVATE_MOUNTS = (sys.executable, os.path.abspath(__file__))

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def enter() -> None:
    """Give this process mounts of its own."""
    # int unshare(int flags);
    _checked(_libc.unshare(_CLONE_NEWNS), "unshare")
    with open("/proc/self/mountinfo", "rb") as file:
        points = [line.split(b" ")[4].decode("unicode_escape").encode("latin-1") for line in file]
    for point in points:
        # int mount(const char *source, const char *target, const char *type,
        #           unsigned long flags, const void *data);
        # One that lies hidden under another cannot be reached, nor be changed by the command.
        _libc.mount(None, point, None, _MS_PRIVATE, None)


def main() -> None:
    """Run the command."""
    enter()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
