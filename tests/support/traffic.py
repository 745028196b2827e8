# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Known amounts of loopback traffic between two cgroups.

The sockets are those of this process; they belong to the network namespace that it is in.
"""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple

from .cgroups import Cgroup

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_IP_HEADER = {socket.AF_INET: 20, socket.AF_INET6: 40}
_UDP_HEADER = 8


class Amount(NamedTuple):
    """Octets at L3, IP header included, and packets."""

    octets: int
    packets: int

    def __add__(self, other: object) -> Amount:
        assert isinstance(other, Amount)
        return Amount(self.octets + other.octets, self.packets + other.packets)


def _socket(cgroup: Cgroup, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    with cgroup.entered():
        made = socket.socket(family, kind)
    made.settimeout(10)
    return made


def datagrams(
    sender: Cgroup,
    receiver: Cgroup,
    family: socket.AddressFamily = socket.AF_INET,
    count: int = 23,
    payload: int = 100,
) -> Amount:
    """Send ``count`` UDP datagrams of ``payload`` bytes, receive them all; return their sum."""
    with contextlib.ExitStack() as stack:
        near, far = (
            stack.enter_context(_socket(cgroup, family, socket.SOCK_DGRAM))
            for cgroup in (sender, receiver)
        )
        far.bind((LOOPBACK[family], 0))
        near.connect(far.getsockname())
        for _ in range(count):
            near.send(bytes(payload))
            assert len(far.recv(payload + 1)) == payload
    return Amount(count * (_IP_HEADER[family] + _UDP_HEADER + payload), count)


def exchange(
    client: Cgroup,
    server: Cgroup,
    family: socket.AddressFamily = socket.AF_INET,
    rounds: int = 23,
    request: int = 100,
    answer: int = 1000,
) -> None:
    """Let ``client`` ask and ``server`` answer over TCP, and close the connection in order.

    Each end has read the other's end of file before it closes, so that no packet is sent
    by a socket in TIME_WAIT or by none, which the programs would not see.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_socket(server, family, socket.SOCK_STREAM))
        listener.bind((LOOPBACK[family], 0))
        listener.listen()
        near = stack.enter_context(_socket(client, family, socket.SOCK_STREAM))
        near.connect(listener.getsockname())
        far = stack.enter_context(listener.accept()[0])
        far.settimeout(10)
        for _ in range(rounds):
            _carry(near, far, request)
            _carry(far, near, answer)
        near.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""
        far.shutdown(socket.SHUT_WR)
        assert near.recv(1) == b""


def _carry(source: socket.socket, sink: socket.socket, size: int) -> None:
    source.sendall(bytes(size))
    while size:
        received = len(sink.recv(size))
        assert received, "the connection ended early"
        size -= received
