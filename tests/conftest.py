# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What holds for every test: in CI nothing is skipped, and no cgroup is left behind."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any, Union

import pytest

from tests.support import cgroups

Report = Union[pytest.TestReport, pytest.CollectReport]


def _refuse_skip(report: Report) -> None:
    if not os.environ.get("CI"):
        return
    expected = hasattr(report, "wasxfail")
    if report.skipped or expected:
        why = f"xfail: {report.wasxfail}" if expected else f"skip: {report.longrepr}"
        if expected:
            # Else the report is shown as "xfailed" whatever its outcome is.
            del report.wasxfail
        report.outcome = "failed"
        report.longrepr = f"in CI every test runs and passes, but {why}"


@pytest.hookimpl(hookwrapper=True, tryfirst=True)  # type: ignore[untyped-decorator]
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """Make a failure of a test that was skipped, or expected to fail."""
    outcome = yield
    _refuse_skip(outcome.get_result())


@pytest.hookimpl(hookwrapper=True, tryfirst=True)  # type: ignore[untyped-decorator]
def pytest_make_collect_report() -> Generator[None, Any, None]:
    """Make a failure of a file that skips itself."""
    outcome = yield
    _refuse_skip(outcome.get_result())


@pytest.fixture(scope="session", autouse=True)
def _no_cgroup_is_left() -> Iterator[None]:
    if os.geteuid() != 0:
        # The unit tests make none.
        yield
        return
    with cgroups.cgroup2():
        yield
        assert list(cgroups.mount_point().glob(cgroups.own_prefix() + "*")) == []
