# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Joins the parts: start, reconcile with the cgroups that exist, sample, stop."""

from __future__ import annotations

import errno
import logging
from dataclasses import dataclass
from typing import Iterator

from .bpf import Link, Object
from .config import Config
from .counters import Counters
from .errors import CgacctError, OperationError
from .hierarchy import Cgroup, Hierarchy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Member:
    """An attached cgroup."""

    cgroup_id: int
    link: Link


class Accountant:
    """Accounts the cgroups that one Config names."""

    def __init__(self, config: Config) -> None:
        """Load the object; raises CgacctError if there is no cgroup2, or no right to load."""
        self._hierarchy = Hierarchy(config.cgroup_root)
        self._names = dict(self._resolve(config))
        self._object = Object(config.bpf_object)
        self._members: dict[str, _Member] = {}
        self._complaints: dict[str, str] = {}

    def _resolve(self, config: Config) -> Iterator[tuple[str, str]]:
        for selection in config.cgroups:
            try:
                path = self._hierarchy.relative(selection.path)
            except CgacctError as error:
                logger.warning("%s", error)
            else:
                yield path, selection.instance or path.replace("/", "-") or "root"

    def sample(self) -> dict[str, Counters]:
        """Attach to what appeared, drop what is gone; return each instance's cumulative sums."""
        totals: dict[str, Counters] = {}
        for path, name in self._names.items():
            try:
                counters = self._reconcile(path)
            except CgacctError as error:
                self._complain(path, str(error))
                continue
            self._complaints.pop(path, None)
            if counters:
                totals[name] = counters
        return totals

    def _reconcile(self, path: str) -> Counters | None:
        try:
            cgroup = self._hierarchy.open(path)
        except OperationError as error:
            self._drop(path)
            if error.errno == errno.ENOENT:
                return None
            raise
        try:
            return self._object.counters.read(self._attached(cgroup).cgroup_id)
        finally:
            cgroup.close()

    def _attached(self, cgroup: Cgroup) -> _Member:
        member = self._members.get(cgroup.path)
        if member and member.cgroup_id == cgroup.id:
            return member
        self._drop(cgroup.path)
        member = _Member(cgroup.id, self._object.attach(cgroup.fd, f'"{cgroup.path or "/"}"'))
        self._members[cgroup.path] = member
        logger.info('attached to cgroup "%s"', cgroup.path or "/")
        return member

    def _drop(self, path: str) -> None:
        member = self._members.pop(path, None)
        if member:
            member.link.close()
            logger.info('cgroup "%s" is gone', path)

    def _complain(self, path: str, message: str) -> None:
        # Once for each change of state, not once for each read.
        if self._complaints.get(path) != message:
            self._complaints[path] = message
            logger.warning("%s", message)

    def close(self) -> None:
        """Detach from all and free the object."""
        for path in list(self._members):
            self._members.pop(path).link.close()
        self._object.close()
