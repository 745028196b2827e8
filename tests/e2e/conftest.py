# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the tests with the real collectd share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cgroups import Cgroup, temporary_cgroup


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with temporary_cgroup() as made:
        yield made
