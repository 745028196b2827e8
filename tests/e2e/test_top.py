# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The command without collectd: it counts, prints, and detaches when it is ended."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import pytest

from tests.support import census
from tests.support.cgroups import Cgroup, wait_for
from tests.support.collectd import CHECKOUT
from tests.support.traffic import datagrams

COMMAND = [sys.executable, "-m", "collectd_cgacct"]


@contextlib.contextmanager
def top(cgroup: Cgroup) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "top", "--cgroup", cgroup.relative]
    process = subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def rates(output: IO[str], name: str) -> Iterator[tuple[int, ...]]:
    for line in output:
        first, *rest = line.split() or [""]
        if first == name:
            yield tuple(map(int, rest))


def test_it_prints_each_byte_and_packet_once(cgroup: Cgroup) -> None:
    with top(cgroup) as process:
        assert process.stdout
        printed = rates(process.stdout, cgroup.relative)
        assert next(printed) == (0, 0, 0, 0)
        sent = datagrams(cgroup, cgroup)
        total: tuple[int, ...] = (0, 0, 0, 0)
        while total[3] < sent.packets:
            total = tuple(a + b for a, b in zip(total, next(printed)))
        assert total == (*sent, *sent)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_it_is_ended_it_detaches_and_exits_0(cgroup: Cgroup, number: int) -> None:
    with top(cgroup) as process:
        assert process.stdout
        next(rates(process.stdout, cgroup.relative))
        held = census.held(process.pid)
        assert held
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr and process.stderr.read() == ""
        wait_for(lambda: not census.alive(held), "the kernel to forget it")


def test_a_pattern_that_cannot_work_is_wrong_usage() -> None:
    done = subprocess.run(
        [*COMMAND, "top", "--cgroup", "/(/"],
        cwd=CHECKOUT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert '"/(/"' in done.stderr.splitlines()[-1]


def test_without_libbpf_it_is_one_line_and_the_mend() -> None:
    program = (
        "from collectd_cgacct import cli, libbpf\n"
        "libbpf._SONAMES = ('libbpf-is-not-here.so.1',)\n"
        "raise SystemExit(cli.main(['top', '--cgroup', '/']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot find libbpf" in line
    assert "apt-get install libbpf1" in line
