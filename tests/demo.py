# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Watch a real collectd count two cgroups with real traffic; ``make demo``.

All that is shown was dispatched by the plugin and is asked from collectd itself.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support.cgroups import Cgroup, cgroup2, temporary_cgroup, wait_for
from tests.support.collectd import CHECKOUT, HOST, PLUGIN, Collectd, module_block, running


@dataclass(frozen=True)
class Flow:
    """Requests to a server in a cgroup, from a client in none that is accounted."""

    transport: str
    request: int
    answer: int
    rate: int


SERVICES = {
    "dns.service": (Flow("udp4", 32, 232, 50), Flow("udp6", 32, 232, 50)),
    "web.service": (Flow("tcp4", 500, 50000, 20), Flow("tcp6", 500, 50000, 20)),
}

# The IP headers of 20 and 40 bytes and the UDP header of 8 make whole kilobytes.
HEADER = """\
A real collectd counts two cgroups; the servers in them answer over loopback:

  dns.service  100 UDP queries a second, half over IPv4, half over IPv6:
               50 * 60 + 50 * 80 bytes = 7.0 kB/s in, 27.0 kB/s out
  web.service  40 TCP requests a second, half over IPv4, half over IPv6,
               50 kB an answer: 2.0 MB/s out, requests and ACKs in

  cgroups      {cgroup.path}
  collectd     {collectd.directory}/collectd.conf
  the table    what collectd answers on {collectd.directory}/sock
"""

ROW = "  {:<14}{:>14}{:>14}{:>14}{:>14}"
TITLE = ROW.format("cgroup", "in", "packets in", "out", "packets out")


class Stop:
    """Notes the signals that end the demo; nothing is interrupted but wait()."""

    def __init__(self) -> None:
        self.number = 0
        self._read, self._write = os.pipe()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: Any) -> None:
        self.number = number
        os.write(self._write, b"!")

    def wait(self, seconds: float) -> bool:
        """Sleep; return whether a signal has come."""
        select.select([self._read], [], [], max(0.0, seconds))
        return bool(self.number)


def start(cgroup: Cgroup | None, words: list[str]) -> subprocess.Popen[str]:
    """Start one end of a flow. Ctrl-C is not for it: what ends it is the demo's end."""
    command = [sys.executable, "-m", "tests.support.steady", *words]
    options: dict[str, Any] = {"cwd": CHECKOUT, "stdout": subprocess.PIPE, "text": True}
    popen = cgroup.popen if cgroup else subprocess.Popen
    return popen(command, start_new_session=True, **options)


@contextlib.contextmanager
def traffic(services: dict[str, Cgroup]) -> Iterator[None]:
    """Let every flow run, the servers in their cgroups, until the end of the block."""
    processes = []
    try:
        for name, cgroup in services.items():
            for flow in SERVICES[name]:
                server = start(cgroup, ["serve", flow.transport, str(flow.answer)])
                processes.append(server)
                assert server.stdout
                port = server.stdout.readline().strip()
                sizes = [str(flow.answer), port, str(flow.request), str(flow.rate)]
                processes.append(start(None, ["ask", flow.transport, *sizes]))
        yield
    finally:
        for process in reversed(processes):
            process.kill()
        for process in processes:
            process.communicate()


def scaled(rate: float) -> str:
    """Return bytes a second in the unit that suits."""
    for unit in ("B/s", "kB/s", "MB/s"):
        if abs(rate) < 1000 or unit == "MB/s":
            break
        rate /= 1000
    return "-" if math.isnan(rate) else f"{rate:.1f} {unit}"


def row(collectd: Collectd, name: str) -> str:
    """Return a line of the table, as collectd has the values now."""
    octets, packets = (
        collectd.sock.rates(f"{HOST}/{PLUGIN}-{name}/{kind}")
        for kind in ("if_octets", "if_packets")
    )
    cells = []
    for direction in ("rx", "tx"):
        count = packets[direction]
        cells += [scaled(octets[direction]), "-" if math.isnan(count) else f"{count:.0f} /s"]
    return ROW.format(name, *cells)


class Screen:
    """Shows the table: in place on a terminal, else line after line."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._height = 0

    def show(self, second: int, seconds: int, rows: list[str]) -> None:
        """Show the rows as those of one second."""
        lines = [TITLE, *rows]
        if self._terminal:
            lines += ["", f"  {second} of {seconds} s; Ctrl-C ends it"]
            up = f"\x1b[{self._height}A" if self._height else ""
            print(up + "".join(f"{line}\x1b[K\n" for line in lines), end="", flush=True)
            self._height = len(lines)
        else:
            print(f"after {second} of {seconds} s", *lines, "", sep="\n", flush=True)


def is_complete(collectd: Collectd) -> bool:
    """Return whether every value has been dispatched twice, so that there is a rate."""
    assert not collectd.complaints(), collectd.complaints()[0]
    try:
        return all("-" not in row(collectd, name).split() for name in SERVICES)
    except LookupError:
        return False


def watch(collectd: Collectd, stop: Stop, seconds: int) -> None:
    """Show what collectd has, each second, for ``seconds`` or until a signal."""
    wait_for(lambda: stop.number or is_complete(collectd), "values of both cgroups in collectd")
    screen, begin = Screen(), time.monotonic()
    for second in range(seconds + 1):
        if stop.wait(begin + second - time.monotonic()):
            return
        screen.show(second, seconds, [row(collectd, name) for name in SERVICES])


def demonstrate(stop: Stop, seconds: int) -> None:
    """Make it all, show it, and leave nothing."""
    with cgroup2(), temporary_cgroup("demo") as cgroup:
        services = {name: cgroup.child(name) for name in SERVICES}
        options = "\n".join(
            f'<CGroup "{service.relative}">\n  Instance "{name}"\n</CGroup>'
            for name, service in services.items()
        )
        with traffic(services), running(module_block(options), interval=1) as collectd:
            print(HEADER.format(collectd=collectd, cgroup=cgroup), flush=True)
            watch(collectd, stop, seconds)


def main() -> int:
    """Run the demo; return 128 and the signal's number if one ended it."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.demo", description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, help="how long to show it (%(default)s)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("run it as root: it makes cgroups and loads eBPF programs", file=sys.stderr)
        return 1
    stop = Stop()
    try:
        demonstrate(stop, options.seconds)
    except AssertionError as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
    print("\nTraffic, collectd, cgroups and files are gone again.")
    return 128 + stop.number if stop.number else 0


if __name__ == "__main__":
    sys.exit(main())
