# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The benches run, so that they cannot rot. What they measure is not asserted: no test is timed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.collectd import CHECKOUT

HEADERS = {
    "hot_path": "ratio to ours",
    "read_cost": "ratio to C",
    "appearing": "99th percentile",
}


@pytest.mark.parametrize("bench", HEADERS)
def test_a_bench_ends_well_and_prints_its_table(bench: str) -> None:
    command = [sys.executable, "-m", "tests.bench", "--tiny", bench]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"\n{bench}: " in done.stdout
    assert HEADERS[bench] in done.stdout


def test_an_unknown_bench_is_named_as_a_mistake() -> None:
    command = [sys.executable, "-m", "tests.bench", "nonsense"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no such bench: nonsense" in done.stderr
