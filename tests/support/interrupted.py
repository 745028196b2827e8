# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Egress of one cgroup in process context, interrupted by its egress in softirq on the same CPU.

On CPU 0 a process of the cgroup sends datagrams. On CPU 1 a process outside repeats an old
segment of an idle connection of the cgroup; RPS has CPU 0 receive it, by an interrupt
between processors, and acknowledge it there and then.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from . import flows
from .capture import captured
from .netlab import FAR, NEAR
from .private_mounts import PRIVATE_MOUNTS
from .wire import Bench

_FAMILY = socket.AF_INET

# Writes how often it sent: the packet that was given, or empty datagrams if none was. The
# pause has each segment interrupt on its own; without it the receiving CPU would poll.
_SEND = """
import os, socket, sys, time
cpu, seconds, target, packet = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
os.sched_setaffinity(0, {cpu})
packet = bytes.fromhex(packet)
kind = (socket.SOCK_RAW, socket.IPPROTO_RAW) if packet else (socket.SOCK_DGRAM, 0)
one = socket.socket(socket.AF_INET, *kind)
one.connect((target, 9))
sent, end = 0, time.monotonic() + seconds
while time.monotonic() < end:
    for _ in range(100):
        one.send(packet)
        until = time.perf_counter_ns() + 10_000
        while packet and time.perf_counter_ns() < until:
            pass
    sent += 100
print(sent)
"""


def prepare(wire: Bench) -> None:
    """Let CPU 0 receive for the near device, and nothing but the test make traffic."""
    # sysfs shows the devices of the namespace in which it was mounted.
    cpu_0 = "mount -t sysfs none /sys && echo 1 > /sys/class/net/near/queues/rx-0/rps_cpus"
    wire.lab.near.run(*PRIVATE_MOUNTS, "sh", "-c", cpu_0)
    for netns in (wire.lab.near, wire.lab.far):
        netns.run("sysctl", "-q", "net.ipv6.conf.all.disable_ipv6=1")
    # What is captured has to have its checksum.
    wire.lab.far.run("ethtool", "-K", "far", "tx", "off")
    # A million frames are not worth their memory: here the device is witness enough.
    wire.capture.close()
    wire.restart()


@contextlib.contextmanager
def old_segment(wire: Bench) -> Iterator[bytes]:
    """Open a connection; hand out a packet that was received and acknowledged in it."""
    with flows.connection(wire, _FAMILY) as (near, far):
        with captured(wire.lab.far, "far") as capture:
            flows.transfer(far, near, 1)
            segment = capture.frames(lambda one: one.tcp_payload == 1)[-1].head
        yield segment


def load(wire: Bench, seconds: float) -> tuple[int, int]:
    """Keep both senders going for so long; return how often each sent."""
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(wire.lab.socket("far", _FAMILY, socket.SOCK_DGRAM))
        sink.bind((FAR[_FAMILY], 9))
        segment = stack.enter_context(old_segment(wire))
        command = [sys.executable, "-c", _SEND]
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
        with wire.lab.near.entered():
            datagrams = [*command, "0", str(seconds), FAR[_FAMILY], ""]
            near = stack.enter_context(wire.cgroup.popen(datagrams, **options))
        segments = [*command, "1", str(seconds), NEAR[_FAMILY], segment.hex()]
        far = stack.enter_context(wire.lab.far.popen(segments, **options))
        sent = int(near.communicate()[0]), int(far.communicate()[0])
    return sent
