# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""A tun device that hands packets over unsegmented, as a virtual machine's host does.

Such packets have a segment size, and no number of segments: a driver of virtio does the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator

from .netlab import add_addresses
from .netns import Netns

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_VNET_HDR = 1, 0x1000, 0x4000
_NEEDS_CHECKSUM = 1
_TCP, _UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
_CHECKSUM_AT = {_TCP: 16, _UDP: 6}
# enum of struct virtio_net_hdr
_GSO = {
    (socket.AF_INET, _TCP): 1,
    (socket.AF_INET6, _TCP): 4,
    (socket.AF_INET, _UDP): 5,
    (socket.AF_INET6, _UDP): 5,
}

NEAR = {socket.AF_INET: "10.24.0.1", socket.AF_INET6: "fd24::1"}
GUEST = {socket.AF_INET: "10.24.0.2", socket.AF_INET6: "fd24::2"}


class Tap:
    """The other end of the device: a machine of which the test writes every packet."""

    def __init__(self, fd: int, family: socket.AddressFamily) -> None:
        self._fd = fd
        self._family = family
        self.ip_header = 20 if family == socket.AF_INET else 40

    def write(self, protocol: int, segment: bytes, headers: int, size: int = 0) -> None:
        """Hand over a transport segment; the kernel is to cut it into pieces of ``size``."""
        kind = _GSO[self._family, protocol] if size else 0
        fields = (headers, size) if size else (0, 0)
        at = _CHECKSUM_AT[protocol]
        sum_of_addresses = self._pseudo(protocol, len(segment))
        segment = segment[:at] + sum_of_addresses.to_bytes(2, "big") + segment[at + 2 :]
        virtio = struct.pack(
            "=BBHHHH", _NEEDS_CHECKSUM, kind, self.ip_header + fields[0], fields[1],
            self.ip_header, at,
        )  # fmt: skip
        os.write(self._fd, virtio + self._ip(protocol, len(segment)) + segment)

    def _addresses(self) -> bytes:
        return b"".join(socket.inet_pton(self._family, one[self._family]) for one in (GUEST, NEAR))

    def _ip(self, protocol: int, length: int) -> bytes:
        if self._family == socket.AF_INET6:
            return struct.pack("!IHBB", 6 << 28, length, protocol, 64) + self._addresses()
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 1, 0x4000, 64, protocol, 0)
        checksum = _fold(header + self._addresses()) ^ 0xFFFF
        return header[:10] + checksum.to_bytes(2, "big") + self._addresses()

    def _pseudo(self, protocol: int, length: int) -> int:
        # Not inverted: the device is asked to finish it.
        return _fold(self._addresses() + struct.pack("!HH", protocol, length))

    def read(self) -> bytes:
        """Return the next packet, from the IP header on; AssertionError after ten seconds."""
        while True:
            assert select.select([self._fd], [], [], 10)[0], "no packet came"
            packet = os.read(self._fd, 1 << 17)[10:]
            if packet[0] >> 4 == (4 if self._family == socket.AF_INET else 6):
                transport = packet[9 if self._family == socket.AF_INET else 6]
                if transport in (_TCP, _UDP):
                    return packet


def _fold(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@contextlib.contextmanager
def tap(netns: Netns, family: socket.AddressFamily) -> Iterator[Tap]:
    """Make the device in ``netns``, with the address NEAR and a route to GUEST."""
    with netns.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_VNET_HDR
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", b"guest", flags))
            netns.run("ip", "link", "set", "guest", "addrgenmode", "none", "up")
            add_addresses(netns, "guest", {family: NEAR[family]})
            yield Tap(fd, family)
        finally:
            os.close(fd)
