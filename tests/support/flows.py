# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Traffic between the cgroup under test in the near namespace and its peer in the far one.

TIME_WAIT answers without a full socket, which no hook sees. Connections end here so that
the far end is the one in TIME_WAIT, unless a test wants it otherwise.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Callable

from .cgroups import wait_for
from .netlab import FAR, NEAR
from .wire import Bench

Pair = tuple[socket.socket, socket.socket]
Tune = Callable[[socket.socket], None]

# With GRO on, a veth drops what is beyond the 256 frames of its queue.
WINDOW = 1 << 17
_CHUNK = 1 << 20


def near_socket(
    bench: Bench, family: socket.AddressFamily, kind: socket.SocketKind, protocol: int = 0
) -> socket.socket:
    """Make a socket of the cgroup under test."""
    with bench.cgroup.entered():
        return bench.lab.socket("near", family, kind, protocol)


def untouched(_socket: socket.socket) -> None:
    """Set no option."""


@contextlib.contextmanager
def connection(
    bench: Bench,
    family: socket.AddressFamily,
    tune: Tune = untouched,
    near_closes_first: bool = False,
    addresses: tuple[str, str] | None = None,
) -> Iterator[Pair]:
    """Connect near to far; close both ends in order, so that no end resets the other."""
    near_address, far_address = addresses or (NEAR[family], FAR[family])
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(bench.lab.socket("far", family, socket.SOCK_STREAM))
        near = stack.enter_context(near_socket(bench, family, socket.SOCK_STREAM))
        for one in (listener, near):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
            tune(one)
        listener.bind((far_address, 0))
        listener.listen()
        near.bind((near_address, 0))
        near.connect(listener.getsockname())
        far = stack.enter_context(listener.accept()[0])
        far.settimeout(10)
        tune(far)
        yield near, far
        first, last = (near, far) if near_closes_first else (far, near)
        first.shutdown(socket.SHUT_WR)
        assert last.recv(1) == b""
        last.shutdown(socket.SHUT_WR)
        assert first.recv(1) == b""
    wait_for(lambda: not open_connections(bench), "the end of all connections")


def open_connections(bench: Bench) -> int:
    """Count the near TCP sockets that are more than a remainder in TIME_WAIT."""
    with bench.lab.near.entered():
        count = 0
        for table in ("tcp", "tcp6"):
            with open(f"/proc/thread-self/net/{table}", encoding="ascii") as file:
                # Timer 3 is that of TIME_WAIT, also where the state is still FIN_WAIT2.
                count += sum(not line.split()[5].startswith("03:") for line in list(file)[1:])
    return count


def transfer(sender: socket.socket, receiver: socket.socket, octets: int) -> None:
    """Carry so many octets over a connection."""
    thread = threading.Thread(target=sender.sendall, args=(bytes(octets),))
    thread.start()
    try:
        while octets:
            received = len(receiver.recv(_CHUNK))
            assert received, "the connection ended early"
            octets -= received
    finally:
        thread.join()


@contextlib.contextmanager
def datagram_sockets(
    bench: Bench, family: socket.AddressFamily, tune: Tune = untouched
) -> Iterator[Pair]:
    """Join two UDP sockets, near and far."""
    with contextlib.ExitStack() as stack:
        near = stack.enter_context(near_socket(bench, family, socket.SOCK_DGRAM))
        far = stack.enter_context(bench.lab.socket("far", family, socket.SOCK_DGRAM))
        near.bind((NEAR[family], 0))
        far.bind((FAR[family], 0))
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        tune(near)
        tune(far)
        yield near, far


def carry(sender: socket.socket, receiver: socket.socket, *sizes: int) -> None:
    """Send a datagram of each size, and receive it."""
    for size in sizes:
        sender.send(bytes(size))
        assert len(receiver.recv(1 << 16)) == size
