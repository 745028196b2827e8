# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The accounting without collectd, in this process or in one that dies at a chosen call."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from collectd_cgacct import libbpf, records
from collectd_cgacct.accountant import Accountant
from collectd_cgacct.config import Config, Selection

from .cgroups import Cgroup
from .collectd import CHECKOUT

# All that changes something in the kernel or below PinPath.
_CALLS: tuple[tuple[Any, str], ...] = (
    (libbpf, "load_object"),
    (libbpf, "link_create"),
    (libbpf, "link_update"),
    (libbpf, "create_array"),
    (libbpf, "pin"),
    (libbpf, "open_pin"),
    (libbpf, "link_detach"),
    (records.Journal, "append"),
    (records.Book, "commit"),
    (os, "mkdir"),
    (os, "rename"),
    (os, "unlink"),
    (os, "rmdir"),
)


# The cgroup "app", and its name.
RULES = {"app": "app"}


def config(top: Cgroup, pins: Path, rules: dict[str, str], **options: Any) -> Config:
    """Account the cgroups below ``top`` that ``rules``, pattern to name, say."""
    cgroups = tuple(Selection(f"{top.relative}/{path}", name) for path, name in rules.items())
    return Config(cgroups=cgroups, pin_path=str(pins), **options)


@contextlib.contextmanager
def accounting(options: Config) -> Iterator[Accountant]:
    """Start, and stop in good order."""
    accountant = Accountant(options)
    try:
        accountant.start()
        yield accountant
    finally:
        accountant.close()


def command(*words: str) -> tuple[int, str]:
    """Run the command collectd-cgacct; return its exit status, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "collectd_cgacct", *words],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def said(records: list[logging.LogRecord]) -> list[str]:
    """Return what the package itself said above the level of info, and forget it."""
    lines = [r.getMessage() for r in records if r.levelno > logging.INFO]
    records.clear()
    return [line for line in lines if not line.startswith("libbpf:")]


def totals(accountant: Accountant) -> dict[str, tuple[int, ...]]:
    """Take a sample; return what is dispatched."""
    return dict(accountant.sample().totals)


class _Doom:
    """Ends the process at the call number ``calls``, before it or after it."""

    def __init__(self, calls: int, after: bool) -> None:
        self._left = calls
        self._after = after

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                _die()
            try:
                return function(*arguments, **options)
            finally:
                if self._left == 0:
                    _die()

        return wrapped


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def doomed(calls: int, after: bool, run: Callable[[], object]) -> bool:
    """Run ``run`` in a process that SIGKILLs itself at a call; return whether it survived."""
    child = os.fork()
    if not child:
        status = 1
        try:
            doom = _Doom(calls, after)
            for owner, name in _CALLS:
                setattr(owner, name, doom.wrap(getattr(owner, name)))
            run()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), f"it ended by itself: {status}"
    return status == 0
