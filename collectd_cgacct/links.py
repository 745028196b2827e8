# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Which cgroups the programs are attached to: links that are held, or pinned.

A pinned link outlives the process, and is taken over where it is found: its program is
replaced in place, so that no packet passes uncounted.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterable

from . import libbpf, pins
from .bpf import DIRECTIONS, Object, Program
from .counters import Values
from .errors import OperationError, operation
from .hierarchy import Cgroup
from .logs import OnChange
from .text import quote

logger = logging.getLogger(__name__)


class Links:
    """The programs of an object at cgroups, which are told apart by id.

    One thread may attach while another one detaches.
    """

    def __init__(self, bpf_object: Object, directory: str = "") -> None:
        """Pin each link in ``directory``, and take over what is pinned there; OSError."""
        self._object = bpf_object
        self._directory = directory
        # For the thread that attaches.
        self.counters = bpf_object.counters(capacity=1)
        # Both programs count at these cgroups; what is not pinned is held by descriptors.
        self._attached: dict[int, list[int]] = {}
        # What an earlier process has left, and nobody has taken over yet.
        self._found = pins.links(directory) if directory else {}
        # Whether it is known what an earlier run has made of the counters that there are.
        self.after_another = False
        self._complaints = OnChange(logger)

    def __contains__(self, cgroup_id: int) -> bool:
        return cgroup_id in self._attached

    def __len__(self) -> int:
        return len(self._attached)

    def attach(self, cgroup: Cgroup) -> None:
        """Attach both programs, or let go of what was attached here. Raises OperationError."""
        descriptors: list[int] = []
        made: list[str] = []
        try:
            for program in self._object.programs:
                if self._take_over(program, cgroup):
                    continue
                fd = program.attach(cgroup.fd, quote(cgroup.path or "/"))
                if self._pin(program, cgroup.id, fd):
                    made.append(program.direction)
                    os.close(fd)
                else:
                    descriptors.append(fd)
        except OperationError:
            self._drop(cgroup.id, descriptors, made)
            raise
        self._attached[cgroup.id] = descriptors
        self._found.pop(cgroup.id, None)

    def _path(self, cgroup_id: int, direction: str) -> str:
        return os.path.join(self._directory, pins.link_name(cgroup_id, direction))

    def _pin(self, program: Program, cgroup_id: int, fd: int) -> bool:
        if not self._directory:
            return False
        path = self._path(cgroup_id, program.direction)
        try:
            libbpf.pin(fd, path)
        except OSError as error:
            # What is held stays so until the next start.
            self._complaints.begin_once(
                "pin",
                f"cannot pin link {quote(path)}: {error.strerror}; its cgroup, and others "
                "that appear while this lasts, are not counted while collectd is down",
            )
            return False
        return True

    def _take_over(self, program: Program, cgroup: Cgroup) -> bool:
        """Let a link that was found run ``program``; return whether it is attached.

        What is dead, or of something else, is removed.
        """
        if program.direction not in self._found.get(cgroup.id, ()):
            return False
        path = self._path(cgroup.id, program.direction)
        with operation("open the pinned link", quote(path)):
            try:
                fd = libbpf.open_pin(path)
            except FileNotFoundError:
                return False
        try:
            attached = self._replace(fd, program, cgroup.id, quote(path))
        finally:
            os.close(fd)
        if not attached:
            self._remove(cgroup.id, program.direction)
        return attached

    def _replace(self, fd: int, program: Program, cgroup_id: int, subject: str) -> bool:
        """Put ``program`` in the place of a link's; return whether it is one of the cgroup."""
        try:
            with operation("replace the program of the pinned link", subject):
                if libbpf.cgroup_link(fd) != (cgroup_id, program.attach_type):
                    return False
                libbpf.link_update(fd, program.fd)
        except OperationError as error:
            if error.errno == errno.ENOLINK:  # the cgroup went away just now
                return False
            self._complaints.begin("replace", f"{error}; the old one goes on counting")
        return True

    def detach(self, cgroup_id: int) -> None:
        """Let go of a cgroup. What was counted can be read until it is removed."""
        self._found.pop(cgroup_id, None)
        self._drop(cgroup_id, self._attached.pop(cgroup_id, []), DIRECTIONS)

    def stop_pinning(self) -> None:
        """Hold what is attached from now on: the directory is gone."""
        self._directory = ""

    def reading_before(self, cgroup_id: int) -> Values | None:
        """Return what an earlier run has let a cgroup go with, which is about to be attached."""
        return self.counters.read_if_possible(cgroup_id) if self.after_another else None

    def is_found(self, cgroup_id: int) -> bool:
        """Return whether both links of a cgroup were found, and not taken over so far."""
        return len(self._found.get(cgroup_id, ())) == len(DIRECTIONS)

    def left(self) -> set[int]:
        """Return the cgroups of links that were found, and not taken over so far."""
        return set(self._found)

    def _drop(self, cgroup_id: int, descriptors: list[int], directions: Iterable[str]) -> None:
        for fd in descriptors:
            os.close(fd)
        for direction in directions if self._directory else ():
            self._remove(cgroup_id, direction)

    def _remove(self, cgroup_id: int, direction: str) -> None:
        try:
            pins.remove(self._directory, pins.link_name(cgroup_id, direction))
        except OSError as error:
            where = quote(self._directory)
            self._complaints.begin(
                "unpin", f"cannot remove links in {where}: {error.strerror}; they stay there"
            )

    def close(self) -> None:
        """Detach from all that is not pinned; twice is fine."""
        while self._attached:
            for fd in self._attached.popitem()[1]:
                os.close(fd)
