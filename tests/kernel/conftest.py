# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the kernel tests share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from collectd_cgacct import logs
from tests.support.cgroups import Cgroup, temporary_cgroup


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with temporary_cgroup() as made:
        yield made


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What the package and libbpf log."""
    kept: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    logs.send_to(Keep(), logging.DEBUG)
    yield kept
    logs.send_to(logging.NullHandler())
