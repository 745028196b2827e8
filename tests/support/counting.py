# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The programs of the packaged object, attached to cgroups of a test, without collectd."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable

from collectd_cgacct.bpf import Link, Object
from collectd_cgacct.config import PACKAGED_OBJECT
from collectd_cgacct.counters import Counters

from .cgroups import Cgroup

Read = Callable[[], Counters]


def attach(loaded: Object, cgroup: Cgroup) -> Link:
    """Attach to a cgroup by its path."""
    fd = os.open(cgroup.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return loaded.attach(fd, f'"{cgroup.relative}"')
    finally:
        os.close(fd)


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
