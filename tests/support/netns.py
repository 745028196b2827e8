# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Network namespaces of a test's own, and the counters of the devices in them.

A namespace has no name: it lives as long as its descriptor, so that nothing is left
of it even when the tests are killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

_CLONE_NEWNET = 0x40000000
_ETHERNET_HEADER = 14
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _setns(fd: int) -> None:
    # int setns(int fd, int nstype);
    _checked(_libc.setns(fd, _CLONE_NEWNET), "setns")


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Device(NamedTuple):
    """A device's own counters; bytes are those at L3, without the Ethernet headers."""

    rx_bytes: int
    rx_packets: int
    tx_bytes: int
    tx_packets: int

    def since(self, before: Device) -> Device:
        """Return what was added since ``before``."""
        return Device(*(now - then for now, then in zip(self, before)))


class Netns:
    """One network namespace."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def path(self) -> str:
        """The namespace as ``ip link set DEVICE netns PATH`` takes it."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread into the namespace; the sockets that it makes inside belong to it."""
        home = _current()
        try:
            _setns(self.fd)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def popen(self, command: list[str], **options: Any) -> subprocess.Popen[Any]:
        """Start ``command`` in the namespace."""
        with self.entered():
            return subprocess.Popen(command, **options)

    def run(self, *command: str, **options: Any) -> str:
        """Run ``command`` in the namespace to its end; return what it printed."""
        with self.entered():
            done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return str(done.stdout)

    def device(self, name: str = "lo") -> Device:
        """Return the counters of a device, as the kernel counted its frames."""
        with self.entered(), open("/proc/thread-self/net/dev", encoding="ascii") as file:
            for line in file:
                label, _, numbers = line.partition(":")
                if label.strip() == name:
                    # loopback_xmit() counts a frame after eth_type_trans() took its header off.
                    header = 0 if name == "lo" else _ETHERNET_HEADER
                    rx, rx_packets, *_, tx, tx_packets = map(int, numbers.split()[:10])
                    return Device(
                        rx - header * rx_packets, rx_packets, tx - header * tx_packets, tx_packets
                    )
        raise AssertionError(f"no device {name}")

    def close(self) -> None:
        """Let the namespace go; twice is fine."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def _create() -> int:
    home = _current()
    try:
        # int unshare(int flags);
        _checked(_libc.unshare(_CLONE_NEWNET), "unshare")
        try:
            return _current()
        finally:
            _setns(home)
    finally:
        os.close(home)


@contextlib.contextmanager
def temporary_netns() -> Iterator[Netns]:
    """Make a network namespace with lo up; it goes with its last process and socket."""
    netns = Netns(_create())
    try:
        netns.run("ip", "link", "set", "lo", "up")
        yield netns
    finally:
        netns.close()
