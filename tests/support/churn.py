# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Make cgroups, send a known amount from a process in each, and remove them, fast.

Run as a program, so that its forks are cheap: DIRECTORY COUNT WAIT_SECONDS. It prints
the octets and packets sent, and the cgroups made a second.
"""

from __future__ import annotations

import os
import socket
import sys
import time

DATAGRAMS, PAYLOAD = 23, 100
OCTETS = DATAGRAMS * (20 + 8 + PAYLOAD)


def _child(path: str, wait: float, port: int) -> None:
    # exec is not needed: what counts is in which cgroup the socket is made.
    with open(f"{path}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write("0")
    if wait:
        time.sleep(wait)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(DATAGRAMS):
            sender.sendto(bytes(PAYLOAD), ("127.0.0.1", port))
    os._exit(0)


def _work(directory: str, count: int, wait: float, port: int) -> None:
    for number in range(count):
        path = f"{directory}/job-{number}"
        os.mkdir(path)
        child = os.fork()
        if not child:
            _child(path, wait, port)
        _, status = os.waitpid(child, 0)
        assert status == 0
        os.rmdir(path)
        # Some 200 a second; without this pause, this process alone would fill a CPU.
        time.sleep(0.001)


def main() -> None:
    directory, count, wait = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        # Nobody reads it: a datagram that finds the buffer full was sent all the same.
        sink.bind(("127.0.0.1", 0))
        begin = time.monotonic()
        _work(directory, count, wait, sink.getsockname()[1])
        rate = count / (time.monotonic() - begin)
    print(count * OCTETS, count * DATAGRAMS, f"{rate:.0f}")


if __name__ == "__main__":
    main()
