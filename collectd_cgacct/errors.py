# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What can go wrong, and what to do about it.

Every message says what failed, on what, why, and the mend, on one line.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator


class CgacctError(Exception):
    """Root of all errors that this package raises on purpose."""


class OperationError(CgacctError):
    """A call into the kernel or libbpf failed.

    ``operation`` is a verb phrase ("attach to cgroup"), ``subject`` what it was
    applied to, ``errno`` the positive error number.
    """

    def __init__(self, operation: str, subject: str, number: int, detail: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.errno = number
        super().__init__(self._message(detail))

    def _message(self, detail: str) -> str:
        what = f"cannot {self.operation} {self.subject}".rstrip()
        why = detail or os.strerror(self.errno)
        mend = remedy(self.operation, self.errno)
        return f"{what}: {why}; {mend}" if mend else f"{what}: {why}"


_LIBBPF_ERRNO = 4000


@contextlib.contextmanager
def operation(what: str, subject: str) -> Iterator[None]:
    """Turn an OSError into an OperationError."""
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        # libbpf's own numbers, from 4000 on, have no text in the C library.
        why = "libbpf refused it, see its messages" if number >= _LIBBPF_ERRNO else error.strerror
        raise OperationError(what, subject, number, why or "") from error


# (operation, errno) to the mend. An operation of "" is the fallback for any.
_REMEDIES: dict[tuple[str, int], str] = {
    ("find libbpf", errno.ENOENT): "install it: apt-get install libbpf1",
    ("open BPF object", errno.ENOENT): (
        "reinstall the package, run 'make build' in a checkout, or mend the option BPFObject"
    ),
    ("open BPF object", errno.EACCES): "make it readable for the user that collectd runs as",
    ("open BPF object", errno.EINVAL): (
        "name an eBPF object file in the option BPFObject, or leave the option out"
    ),
    ("load BPF object", errno.EACCES): (
        "if the lines above are the verifier's, the object is not for this kernel; otherwise "
        "run collectd as root, or with CAP_BPF and CAP_NET_ADMIN"
    ),
    ("load BPF object", errno.EINVAL): (
        "the kernel refused it: Linux 5.10 or newer with CONFIG_CGROUP_BPF=y is needed"
    ),
    ("attach to cgroup", errno.EPERM): (
        "another program is attached exclusively to it or to a parent "
        "(see 'bpftool cgroup tree'), or CAP_NET_ADMIN is missing"
    ),
    ("attach to cgroup", errno.E2BIG): (
        "64 programs are attached already; see 'bpftool cgroup tree' for whose"
    ),
    ("attach to cgroup", errno.EINVAL): (
        "CAP_NET_ADMIN is missing, or the kernel is older than 5.10"
    ),
    ("attach to cgroup", errno.EBADF): "name a cgroup2 directory",
    ("", errno.EPERM): (
        "run collectd as root, or with CAP_BPF and CAP_NET_ADMIN (and in no user namespace); "
        "before Linux 5.11, with LimitMEMLOCK=infinity as well"
    ),
    ("", errno.EACCES): "run collectd as root, or with CAP_BPF and CAP_NET_ADMIN",
    ("", errno.EMFILE): "raise the limit on open files: LimitNOFILE= in collectd's unit",
    ("", errno.ENFILE): "raise the sysctl fs.file-max",
    ("", errno.ENOMEM): "the kernel had no memory for it; see dmesg",
    ("", errno.ENOSYS): "the kernel has no bpf(2): CONFIG_BPF_SYSCALL=y is needed",
}


def remedy(operation: str, number: int) -> str:
    """Return what an operator can do about ``operation`` failing with ``number``, or ""."""
    return _REMEDIES.get((operation, number)) or _REMEDIES.get(("", number), "")
