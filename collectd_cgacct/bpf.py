# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The object, its programs and its counters: open, load, attach, read, close.

Descriptors are owned by what opened them; close() twice is fine. A failure is an
OperationError that names the object or the cgroup.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from . import libbpf
from .counters import SIZE, CpuSums, Layout, Values
from .errors import CgacctError, OperationError, operation
from .files import open_regular
from .text import quote

DIRECTIONS = {
    "ingress": libbpf.CGROUP_INET_INGRESS,
    "egress": libbpf.CGROUP_INET_EGRESS,
}
_MAP = "counters"


# Descriptors below this are left to others: thousands of links would push those of
# other plugins beyond FD_SETSIZE, where select(2) corrupts memory.
_FIRST_LINK_FD = 1024
# A name may stand for many cgroups.
_ENOUGH_FDS = 65536


def raise_limits(cgroups: int) -> None:
    """Raise the soft limits to what so many cgroups take, as far as the hard ones allow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Not to the hard limit: collectd's exec plugin closes every number below the soft one
    # in each child that it starts.
    wanted = min(max(2 * cgroups + 2 * _FIRST_LINK_FD, _ENOUGH_FDS), hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # Until Linux 5.11, maps and storage count as locked memory. Only libbpf 1.x sees to
    # that itself, and only for maps.
    with contextlib.suppress(OSError, ValueError):
        unlimited = resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (unlimited, unlimited))


def _out_of_the_way(fd: int) -> int:
    try:
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_LINK_FD)
    except OSError as error:
        if error.errno == errno.EINVAL:  # the limit itself is below
            return fd
        os.close(fd)
        raise
    os.close(fd)
    return high


# So many counters are summed at once; more gain nothing, and take memory. What was read
# last is kept for comparison if there is not too much of it.
_CHUNK, _CHUNK_BYTES, _KEPT_BYTES = 256, 2**20, 2**25


@dataclass
class _Chunk:
    """Neighbours that are read together, and what was read last."""

    cgroup_ids: list[int]
    prepared: list[Any]
    data: bytes


class CounterMap:
    """The per-CPU counters of every cgroup that the programs are attached to.

    One for each thread: it has a buffer.
    """

    def __init__(self, fd: int, layout: Layout, capacity: int = _CHUNK) -> None:
        cpus = libbpf.possible_cpus()
        self._stride = layout.size * cpus
        self._capacity = max(1, min(capacity, _CHUNK_BYTES // self._stride))
        self._lookup = libbpf.PerCpuLookup(fd, layout.size, self._capacity)
        self._sums = CpuSums(layout.fields, cpus)
        self._chunks: list[_Chunk] = []

    def read(self, cgroup_id: int) -> Values | None:
        """Return the cgroup's sums over all CPUs; None if nothing is attached to it any more."""
        with operation("read counters of cgroup", f"id {cgroup_id}"):
            try:
                return next(self._sums(self._lookup.read(cgroup_id)))
            except FileNotFoundError:
                return None

    def read_if_possible(self, cgroup_id: int) -> Values | None:
        """As read(), but None if it fails, too: for who leaves it to others to report that."""
        try:
            return self.read(cgroup_id)
        except OperationError:
            return None

    def read_each(self, cgroup_ids: Iterable[int]) -> Iterator[tuple[int, Values]]:
        """Yield id and sums of those that read_if_possible() can read, one after another."""
        for cgroup_id in cgroup_ids:
            values = self.read_if_possible(cgroup_id)
            if values is not None:
                yield cgroup_id, values

    def read_into(self, cgroup_ids: list[int], values: list[Values]) -> list[int]:
        """Put the sums of all ``cgroup_ids`` into the same places of ``values``.

        Returns the ids of those that could not be read; read() tells why. What has not
        changed since the last call, with the same cgroup in the same place, is left alone.
        """
        unread: list[int] = []
        keep = len(cgroup_ids) * self._stride <= _KEPT_BYTES
        for number, begin in enumerate(range(0, len(cgroup_ids), self._capacity)):
            chunk = self._chunk(number, cgroup_ids[begin : begin + self._capacity])
            data = self._lookup.read_all(chunk.prepared)
            if data is None:
                chunk.data = b""
                unread += self._one_by_one(chunk.cgroup_ids, values, begin)
            elif data != chunk.data:
                chunk.data = data if keep else b""
                values[begin : begin + self._capacity] = self._sums(data)
        del self._chunks[-(-len(cgroup_ids) // self._capacity) :]
        return unread

    def _chunk(self, number: int, cgroup_ids: list[int]) -> _Chunk:
        if number == len(self._chunks):
            self._chunks.append(_Chunk([], [], b""))
        chunk = self._chunks[number]
        if chunk.cgroup_ids != cgroup_ids:
            chunk = _Chunk(cgroup_ids, self._lookup.prepare(cgroup_ids), b"")
            self._chunks[number] = chunk
        return chunk

    def _one_by_one(self, cgroup_ids: list[int], values: list[Values], begin: int) -> list[int]:
        unread = []
        for place, cgroup_id in enumerate(cgroup_ids, begin):
            try:
                values[place] = next(self._sums(self._lookup.read(cgroup_id)))
            except OSError:
                unread.append(cgroup_id)
        return unread


@dataclass(frozen=True)
class Program:
    """A loaded program; the descriptor is the object's."""

    direction: str
    fd: int
    attach_type: int

    def attach(self, cgroup_fd: int, subject: str) -> int:
        """Return a link to the cgroup directory open at ``cgroup_fd``, as a descriptor."""
        with operation("attach to cgroup", subject):
            return _out_of_the_way(libbpf.link_create(self.fd, cgroup_fd, self.attach_type))


class Object:
    """An eBPF object file, loaded into the kernel.

    ``layout`` is that of its counters, ``programs`` are the two that count.
    """

    def __init__(self, path: str, splits: Iterable[str] = (), pin: str = "") -> None:
        """Load ``path`` with ``splits`` on.

        The counters are those that are pinned at ``pin``, or are pinned there.
        Raises OperationError, CgacctError for an object that is not ours.
        """
        self._handle = 0
        self.layout = Layout(splits)
        self._name = os.path.basename(path)
        self._path = quote(path)
        with operation("find libbpf", ""):
            libbpf.load()
        with operation("open BPF object", self._path):
            os.close(open_regular(path))
        self._open(path)
        try:
            self._set_switches()
            if pin:
                libbpf.set_pin_path(self._handle, _MAP, pin)
            self._load()
        except BaseException:
            self.close()
            raise

    def _open(self, path: str) -> None:
        try:
            self._handle = libbpf.open_object(path)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise OperationError("open BPF object", self._path, error.errno) from error
            raise CgacctError(
                f"cannot open BPF object {self._path}: it is not an eBPF object file; "
                "reinstall the package, or mend the option BPFObject"
            ) from error

    def _set_switches(self) -> None:
        with self._of_this_version():
            libbpf.check_value_size(self._handle, _MAP, SIZE)
            libbpf.set_value_size(self._handle, _MAP, self.layout.size)
            libbpf.set_rodata(self._handle, self._name, self.layout.switches)

    def _load(self) -> None:
        with operation("load BPF object", self._path):
            libbpf.load_object(self._handle)
        with self._of_this_version():
            self.programs = [
                Program(direction, libbpf.program_fd(self._handle, f"count_{direction}"), kind)
                for direction, kind in DIRECTIONS.items()
            ]
            self._map = libbpf.map_fd(self._handle, _MAP)

    @contextlib.contextmanager
    def _of_this_version(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CgacctError(
                f"BPF object {self._path} lacks a program, the map or the switches of this "
                "version; reinstall the package, or mend the option BPFObject"
            ) from error

    def counters(self, capacity: int = _CHUNK) -> CounterMap:
        """Return a reader of the counters with a buffer for ``capacity`` cgroups."""
        return CounterMap(self._map, self.layout, capacity)

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
