# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Files that an option names: regular ones only, as others may never answer."""

from __future__ import annotations

import errno
import os
import stat

from .text import encode


def open_regular(path: str) -> int:
    """Open ``path`` for reading; return the descriptor. OSError, also if it is no regular file."""
    # Without O_NONBLOCK, a FIFO in the place of the file would stop collectd's start.
    fd = os.open(encode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return fd


def read_regular(path: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of the file at ``path``."""
    with open(open_regular(path), "rb") as file:
        return file.read(limit)
