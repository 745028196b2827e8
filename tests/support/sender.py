# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Send datagrams at a steady rate until SIGTERM, then print how many it were.

    python3 -m tests.support.sender PORT RATE

It ends with the process that started it.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .cgroups import Cgroup
from .children import end_with_parent
from .collectd import CHECKOUT

PAYLOAD = 100
OCTETS = 20 + 8 + PAYLOAD


def main() -> None:
    """Send, and count."""
    port, rate = int(sys.argv[1]), float(sys.argv[2])
    end_with_parent(signal.SIGKILL)
    stop = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stop.append(number))
    begin, sent = time.monotonic(), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", port))
        print("ready", flush=True)
        while not stop:
            sender.send(bytes(PAYLOAD))
            sent += 1
            time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
    print(sent)


class Sender:
    """A sender that runs in a cgroup."""

    def __init__(self, cgroup: Cgroup, port: int, rate: int = 200) -> None:
        command = [sys.executable, "-m", "tests.support.sender", str(port), str(rate)]
        self._process = cgroup.popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"

    def stop(self) -> int:
        """End it; return the octets that it has sent."""
        self._process.terminate()
        output, _ = self._process.communicate(timeout=20)
        return int(output) * OCTETS


@contextmanager
def sink() -> Iterator[int]:
    """Have a port to send to. Nobody reads: what finds the buffer full was sent all the same."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        yield made.getsockname()[1]


if __name__ == "__main__":
    main()
