# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A server, or a client that asks it at a steady rate, over loopback.

    python3 -m tests.support.steady serve udp4 ANSWER
    python3 -m tests.support.steady ask udp4 ANSWER PORT REQUEST RATE

A server prints its port. Sizes are in bytes of payload, rates in requests a second.
Transports: udp4, udp6, tcp4, tcp6. Each ends with the process that started it.
"""

from __future__ import annotations

import itertools
import signal
import socket
import sys
import time

from .children import end_with_parent

_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
_PLACES = {"4": (socket.AF_INET, "127.0.0.1"), "6": (socket.AF_INET6, "::1")}
# As DNS has it; enough for a server to know a request by.
_DATAGRAM_MAX = 65535


def serve(transport: str, answer: int) -> None:
    """Answer each request with ``answer`` bytes."""
    family, address = _PLACES[transport[3]]
    with socket.socket(family, _KINDS[transport[:3]]) as server:
        server.bind((address, 0))
        if transport.startswith("tcp"):
            server.listen()
        print(server.getsockname()[1], flush=True)
        if transport.startswith("udp"):
            while True:
                _, client = server.recvfrom(_DATAGRAM_MAX)
                server.sendto(bytes(answer), client)
        with server.accept()[0] as connection:
            while connection.recv(_DATAGRAM_MAX):
                connection.sendall(bytes(answer))


def ask(transport: str, answer: int, port: int, request: int, rate: float) -> None:
    """Send requests of ``request`` bytes, each when its time has come."""
    family, address = _PLACES[transport[3]]
    with socket.socket(family, _KINDS[transport[:3]]) as client:
        client.connect((address, port))
        begin = time.monotonic()
        for number in itertools.count():
            time.sleep(max(0.0, begin + number / rate - time.monotonic()))
            client.send(bytes(request))
            left = answer
            while left > 0:
                left -= len(client.recv(_DATAGRAM_MAX)) or left


def main(words: list[str]) -> None:
    """Do what the command line says, until a signal."""
    end_with_parent(signal.SIGTERM)
    verb, transport, answer, *rest = words
    if verb == "serve":
        serve(transport, int(answer))
    else:
        port, request, rate = rest
        ask(transport, int(answer), int(port), int(request), float(rate))


if __name__ == "__main__":
    main(sys.argv[1:])
