# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What collectd's unixsock plugin answers; see collectd-unixsock(5)."""

from __future__ import annotations

import socket
from pathlib import Path


class UnixSock:
    """The socket of a running collectd; each question is a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def _ask(self, question: str) -> list[str]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self._path))
            with connection.makefile("rw", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(question + "\n")
                stream.flush()
                status, _, message = stream.readline().rstrip("\n").partition(" ")
                if int(status) < 0:
                    raise LookupError(message)
                return [stream.readline().rstrip("\n") for _ in range(int(status))]

    def answers(self) -> bool:
        """Return whether there is somebody at the other end."""
        try:
            self.identifiers()
        except OSError:
            return False
        return True

    def identifiers(self) -> list[str]:
        """Return the identifiers of all values in collectd's cache."""
        # Each line is a time, a space, and the identifier.
        return [line.partition(" ")[2] for line in self._ask("LISTVAL")]

    def rates(self, identifier: str) -> dict[str, float]:
        """Return the rates per second of a value; nan if it was dispatched once only.

        LookupError if collectd has no such value.
        """
        pairs = (line.partition("=") for line in self._ask(f'GETVAL "{identifier}"'))
        return {name: float(rate) for name, _, rate in pairs}
