# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Memory of the kernel's that outlives the process: array maps, pinned and mapped.

What has been stored there when the process is killed is there for the next one.
"""

from __future__ import annotations

import errno
import mmap
import os
from typing import Callable

from . import libbpf

Fill = Callable[[mmap.mmap], None]


def make(path: str, name: str, size: int, fill: Fill) -> mmap.mmap:
    """Pin new memory of ``size`` octets at ``path`` once ``fill`` has filled it.

    It is zero at first. Raises OSError.
    """
    fd = libbpf.create_array(name, size)
    try:
        memory = mmap.mmap(fd, libbpf.array_size(fd))
        fill(memory)
        libbpf.pin(fd, path)
    finally:
        os.close(fd)
    return memory


def find(path: str) -> mmap.mmap | None:
    """Return the memory that is pinned at ``path``, None if nothing is.

    Raises OSError: EINVAL if it is something else.
    """
    try:
        fd = libbpf.open_pin(path)
    except FileNotFoundError:
        return None
    try:
        size = libbpf.array_size(fd)
        if not size:
            raise OSError(errno.EINVAL, "it is not what was pinned there", path)
        return mmap.mmap(fd, size)
    finally:
        os.close(fd)
