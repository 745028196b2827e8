# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The object, its links and its counters: open, load, attach, read, close.

Descriptors are owned by what opened them; close() twice is fine. A failure is an
OperationError that names the object or the cgroup.
"""

from __future__ import annotations

import contextlib
import errno
import os
from types import TracebackType
from typing import Iterator

from . import libbpf
from .counters import SIZE, Counters, sum_cpus
from .errors import CgacctError, OperationError

_PROGRAMS = (
    ("count_ingress", libbpf.CGROUP_INET_INGRESS),
    ("count_egress", libbpf.CGROUP_INET_EGRESS),
)
_MAP = "counters"


@contextlib.contextmanager
def _operation(operation: str, subject: str) -> Iterator[None]:
    """Turn an OSError into an OperationError."""
    try:
        yield
    except OSError as error:
        number = error.errno or errno.EIO
        raise OperationError(operation, subject, number, error.strerror or "") from error


class CounterMap:
    """The per-CPU counters of every cgroup that the programs are attached to."""

    def __init__(self, fd: int, value_size: int) -> None:
        if value_size != SIZE:
            raise CgacctError(
                f'map "{_MAP}" has values of {value_size} bytes, not {SIZE}: '
                "the object is of another version; build or install both together"
            )
        self._lookup = libbpf.PerCpuLookup(fd, value_size)

    def read(self, cgroup_id: int) -> Counters | None:
        """Return the cgroup's sums over all CPUs; None if nothing is attached to it any more."""
        try:
            with _operation("read counters of cgroup", f"id {cgroup_id}"):
                self._lookup.read(cgroup_id)
        except OperationError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return sum_cpus(self._lookup.buffer)


class Link:
    """Both programs attached to one cgroup, until close() or the end of the process."""

    def __init__(self, descriptors: list[int]) -> None:
        self._descriptors = descriptors

    def close(self) -> None:
        """Detach. The cgroup's counters go as well."""
        while self._descriptors:
            os.close(self._descriptors.pop())


class Object:
    """An eBPF object file, loaded into the kernel."""

    def __init__(self, path: str) -> None:
        """Load ``path``; raises OperationError, CgacctError for an object that is not ours."""
        self._handle = 0
        self._path = f'"{path}"'
        with _operation("find libbpf", ""):
            libbpf.possible_cpus()
        with _operation("open BPF object", self._path):
            os.close(os.open(path, os.O_RDONLY))
        self._open(path)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def _open(self, path: str) -> None:
        try:
            self._handle = libbpf.open_object(path)
        except OSError as error:
            raise CgacctError(
                f"cannot open BPF object {self._path}: it is not an eBPF object file "
                f"({error.strerror}); reinstall the package, or mend the option BPFObject"
            ) from error

    def _load(self) -> None:
        with _operation("load BPF object", self._path):
            libbpf.load_object(self._handle)
        try:
            self._programs = [
                (libbpf.program_fd(self._handle, name), kind) for name, kind in _PROGRAMS
            ]
            self.counters = CounterMap(*libbpf.map_fd(self._handle, _MAP))
        except OSError as error:
            raise CgacctError(
                f"BPF object {self._path} lacks a program or the map of this version; "
                "reinstall the package, or mend the option BPFObject"
            ) from error

    def attach(self, cgroup_fd: int, subject: str) -> Link:
        """Attach both programs to the cgroup directory open at ``cgroup_fd``, or neither."""
        descriptors: list[int] = []
        link = Link(descriptors)
        try:
            with _operation("attach to cgroup", subject):
                for program_fd, kind in self._programs:
                    descriptors.append(libbpf.link_create(program_fd, cgroup_fd, kind))
        except OperationError:
            link.close()
            raise
        return link

    def close(self) -> None:
        """Free the programs and the map, as far as no link or pin holds them."""
        if self._handle:
            libbpf.close_object(self._handle)
            self._handle = 0

    def __enter__(self) -> Object:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
