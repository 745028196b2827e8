# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The demo shows live rates and leaves nothing, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import mount_point, wait_for
from tests.support.collectd import CHECKOUT
from tests.support.private_mounts import PRIVATE_MOUNTS

UP = re.compile(r"\x1b\[\d+A")
ROW = re.compile(
    r"(\w+)\.service +([\d.]+) (k?)B/s +(\d+) /s +([\d.]+) ([kM]?)B/s +(\d+) /s", re.MULTILINE
)


class Demo:
    """A running demo, whose temporary files all are in one directory."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path, output: Path) -> None:
        self.process = process
        self.directory = directory
        self._output = output

    def said(self) -> str:
        return self._output.read_text("utf-8", "replace")

    def wait_for_rows(self, count: int) -> None:
        wait_for(lambda: len(ROW.findall(self.said())) >= count, "rows of the table")

    def assert_nothing_left(self) -> None:
        assert list(self.directory.iterdir()) == []
        # In a mount namespace of its own it has another path than here.
        for name in re.findall(r"cgacct-demo-[0-9]+-\S+", self.said()):
            assert not (mount_point() / name).exists()
        assert list(mount_point().glob(f"cgacct-demo-{self.process.pid}-*")) == []
        # Every process that it started has its environment.
        assert [pid for pid in _pids() if str(self.directory) in _environment(pid)] == []


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environment(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_text("utf-8", "replace")
    return ""


@contextlib.contextmanager
def demo(
    place: Path, *, seconds: int, wrapper: Sequence[str] = (), terminal: int | None = None
) -> Iterator[Demo]:
    """Run the demo, its output to a file, or to a terminal too."""
    # Not below ``place``: the name of a socket has 107 bytes at most.
    directory, output = Path(tempfile.mkdtemp(prefix="cgacct-demo-")), place / "output"
    options: dict[str, Any] = {}
    if terminal is not None:
        # A terminal of its own, so that Ctrl-C there is for the demo and all that it started.
        options = {
            "stdin": terminal,
            "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            "start_new_session": True,
        }
    with open(output, "wb") as file:
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", "tests.demo", "--seconds", str(seconds)],
            cwd=CHECKOUT,
            env={**os.environ, "TMPDIR": str(directory), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=file if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            **options,
        )
    try:
        yield Demo(process, directory, output)
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(directory)


def test_it_shows_the_rates_of_both_cgroups_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path, seconds=2) as shown:
        assert shown.process.wait(60) == 0, shown.said()
        rows = ROW.findall(shown.said())
        assert [row[0] for row in rows] == ["dns", "web"] * 3
        assert "\x1b" not in shown.said()
        shown.assert_nothing_left()


def test_its_figures_are_those_of_its_traffic(tmp_path: Path) -> None:
    with demo(tmp_path, seconds=1) as shown:
        assert shown.process.wait(60) == 0, shown.said()
    dns, web = ROW.findall(shown.said())[-2:]
    # 70 bytes a query and 270 an answer on average, however busy the machine is.
    assert float(dns[1]) * 1000 / int(dns[3]) == pytest.approx(70, rel=0.05)
    assert float(dns[4]) * 1000 / int(dns[6]) == pytest.approx(270, rel=0.05)
    assert web[5] == "M" and float(web[4]) > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, seconds=60) as shown:
        shown.wait_for_rows(2)
        shown.process.send_signal(number)
        assert shown.process.wait(30) == 128 + number
        shown.assert_nothing_left()


def test_a_signal_while_it_starts_ends_it_and_leaves_nothing(tmp_path: Path) -> None:
    with demo(tmp_path, seconds=60) as shown:
        wait_for(lambda: list(shown.directory.iterdir()), "its first file")
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(30) == 128 + signal.SIGINT
        shown.assert_nothing_left()


def test_without_cgroup2_it_mounts_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    unmount = (
        "while path=$(awk '/ - cgroup2 /{print $5; exit}' /proc/self/mountinfo) && [ \"$path\" ]; "
        'do umount -l "$path"; done; "$@"; status=$?; '
        "! grep ' - cgroup2 ' /proc/self/mountinfo && exit $status"
    )
    with demo(tmp_path, seconds=1, wrapper=(*PRIVATE_MOUNTS, "sh", "-uc", unmount, "sh")) as shown:
        assert shown.process.wait(60) == 0, shown.said()
        assert f"{shown.directory}/cgacct-cgroup2-" in shown.said()
        shown.assert_nothing_left()


def test_on_a_terminal_it_redraws_in_place_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    ours, its = os.openpty()
    screen = ""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, ours)
        with demo(tmp_path, seconds=60, terminal=its) as shown:
            os.close(its)
            while len(UP.findall(screen)) < 2:
                screen += os.read(ours, 4096).decode()
            os.write(ours, b"\x03")
            assert shown.process.wait(30) == 128 + signal.SIGINT
            shown.assert_nothing_left()
    assert screen.count("the table") == 1
