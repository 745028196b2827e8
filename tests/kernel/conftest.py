# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the kernel tests share."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from collectd_cgacct import logs
from collectd_cgacct.config import PACKAGED_OBJECT
from tests.support import meters
from tests.support.bpffs import temporary_bpffs
from tests.support.cgroups import Cgroup, temporary_cgroup
from tests.support.netlab import lab
from tests.support.wire import Bench, bench

FAMILIES = [
    pytest.param(socket.AF_INET, id="IPv4"),
    pytest.param(socket.AF_INET6, id="IPv6"),
]


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    with temporary_cgroup() as made:
        yield made


@pytest.fixture
def app(cgroup: Cgroup) -> Cgroup:
    return cgroup.child("app")


@pytest.fixture
def bpffs() -> Iterator[Path]:
    with temporary_bpffs() as made:
        yield made


@pytest.fixture
def pins(bpffs: Path) -> Path:
    """A PinPath."""
    return bpffs / "pins"


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


class Wired(Protocol):
    """Makes a lab, and a cgroup in it with all meters attached."""

    def __call__(self, mtu: int = ..., gro: bool = ...) -> Bench: ...


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packaged object, and what stands beside it in the tables."""
    directory = tmp_path_factory.mktemp("meters")
    return {
        "cgacct": Path(PACKAGED_OBJECT),
        "skb->len": meters.meter(directory, "plain", meters.PLAIN),
        "article": meters.meter(directory, "article", meters.ARTICLE),
        "segmented": meters.meter(directory, "segmented", meters.SEGMENTED),
    }


@pytest.fixture
def wired(objects: dict[str, Path]) -> Iterator[Wired]:
    """What makes the world of a test; it goes with the test."""
    with contextlib.ExitStack() as stack:

        def make(mtu: int = 1500, gro: bool = False) -> Bench:
            return stack.enter_context(bench(stack.enter_context(lab(mtu, gro)), objects))

        yield make
