# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""inotify(7) through ctypes: watches and events. No policy."""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_uint32
from typing import Any, NamedTuple

# <sys/inotify.h>
IN_CREATE = 0x00000100
IN_DELETE = 0x00000200
IN_Q_OVERFLOW = 0x00004000
IN_IGNORED = 0x00008000
IN_ONLYDIR = 0x01000000
IN_ISDIR = 0x40000000

# struct inotify_event { int wd; uint32_t mask; uint32_t cookie; uint32_t len; char name[]; };
_HEADER = struct.Struct("iIII")
_BUFFER = 65536


class Event(NamedTuple):
    """Something happened to ``name`` in the directory of watch ``watch``."""

    watch: int
    mask: int
    name: bytes


def _check(result: int, function: Any, _args: object) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), function.__name__)
    return result


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    for name, argtypes in {
        # int inotify_init1(int flags);
        "inotify_init1": [c_int],
        # int inotify_add_watch(int fd, const char *pathname, uint32_t mask);
        "inotify_add_watch": [c_int, c_char_p, c_uint32],
    }.items():
        function = getattr(libc, name)
        function.argtypes, function.restype, function.errcheck = argtypes, c_int, _check
    return libc


class Inotify:
    """One inotify instance; raises OSError, EMFILE at fs.inotify.max_user_instances."""

    def __init__(self) -> None:
        self.fd = _libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: bytes, mask: int) -> int:
        """Watch ``path``; return the watch. OSError: ENOSPC at fs.inotify.max_user_watches."""
        return int(_libc().inotify_add_watch(self.fd, path, mask))

    def read(self) -> Iterator[Event]:
        """Yield the events that are queued now; does not wait."""
        try:
            data = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, _cookie, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            yield Event(watch, mask, data[offset : offset + length].rstrip(b"\0"))
            offset += length

    def close(self) -> None:
        """End all watches."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
