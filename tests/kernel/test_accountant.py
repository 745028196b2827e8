# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the accountant survives."""

from __future__ import annotations

import contextlib

import pytest

from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection
from collectd_cgacct.hierarchy import Hierarchy
from tests.support.cgroups import Cgroup, wait_for
from tests.support.traffic import datagrams


def test_a_cgroup_that_was_wrongly_taken_for_removed_is_counted_once(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(cgroups=(Selection(cgroup.relative, "it"),), persist=False)
    with contextlib.closing(Accountant(config)) as accountant:
        accountant.start()
        sent = datagrams(cgroup, cgroup)
        roster = accountant._roster
        with monkeypatch.context() as patch:
            # As after a lazy unmount, when the path leads elsewhere for a while.
            patch.setattr(Hierarchy, "is_at", lambda *_: False)
            roster.removed(cgroup.relative)
        roster.appeared(cgroup.relative, 0)
        sent += datagrams(cgroup, cgroup)
        assert accountant.sample().totals == [("it", (*sent, *sent))]
        cgroup.remove()

        def gone() -> bool:
            sample = accountant.sample()
            assert sample.totals == [("it", (*sent, *sent))]
            return sample.cgroups == 0

        wait_for(gone, "the cgroup to be folded")


def test_closing_twice_is_fine(cgroup: Cgroup) -> None:
    accountant = Accountant(Config(cgroups=(Selection(cgroup.relative),), persist=False))
    accountant.start()
    accountant.close()
    accountant.close()
