# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The programs of the packaged object, attached to cgroups of a test, without collectd."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable

from collectd_cgacct import hierarchy
from collectd_cgacct.bpf import Object
from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import Counters
from collectd_cgacct.links import Links

from .cgroups import Cgroup

Read = Callable[[], Counters]


def attach(loaded: Object, cgroup: Cgroup) -> Links:
    """Attach to a cgroup by its path, until close()."""
    fd = os.open(cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
    with hierarchy.Cgroup(cgroup.relative, cgroup.id, fd) as opened:
        return attach_opened(loaded, opened)


def attach_opened(loaded: Object, cgroup: hierarchy.Cgroup) -> Links:
    """Attach to a directory that is open already."""
    links = Links(loaded)
    links.attach(cgroup)
    return links


@contextlib.contextmanager
def counting(*cgroups: Cgroup) -> Iterator[list[Read]]:
    """Count what goes through each of ``cgroups``; hand out a function for each that reads it."""
    with contextlib.ExitStack() as stack:
        loaded = stack.enter_context(Object(PACKAGED_OBJECT))
        for cgroup in cgroups:
            stack.callback(attach(loaded, cgroup).close)
        yield [_reader(loaded, cgroup.id) for cgroup in cgroups]


def _reader(loaded: Object, cgroup_id: int) -> Read:
    counters = loaded.counters()

    def read() -> Counters:
        found = counters.read(cgroup_id)
        assert found is not None, "nothing is attached"
        return Counters(*found)

    return read
