# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Every frame that a device sends and receives, by AF_PACKET."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Callable, NamedTuple

from .netns import Netns

_ETH_P_ALL = 3
_ETHERNET_HEADER = 14
_IPV4, _IPV6 = 0x0800, 0x86DD
_SO_RCVBUFFORCE = 33
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_BUFFER = 1 << 28
_SNAP = 256

_EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
_FRAGMENT = 44
# Multicast listener and neighbour discovery, which the kernel itself speaks.
_KERNELS_ICMPV6 = (130, 131, 132, 133, 134, 135, 136, 143)


class Frame(NamedTuple):
    """A captured frame, from the IP header on.

    ``outgoing`` is whether the device that was captured on sent it; ``octets`` the whole
    length at L3; ``head`` its first octets.
    """

    outgoing: bool
    ethertype: int
    octets: int
    head: bytes

    @property
    def transport(self) -> tuple[int, bytes]:
        """The protocol number above IP, and what follows the IP headers."""
        if self.ethertype == _IPV4:
            return self.head[9], self.head[(self.head[0] & 15) * 4 :]
        protocol, offset = self.head[6], 40
        while protocol in _EXTENSIONS or protocol == _FRAGMENT:
            length = 8 if protocol == _FRAGMENT else (self.head[offset + 1] + 1) * 8
            protocol, offset = self.head[offset], offset + length
        return protocol, self.head[offset:]

    @property
    def kernels_own(self) -> bool:
        """Whether it is ARP, neighbour or multicast listener discovery: from no socket."""
        if self.ethertype not in (_IPV4, _IPV6):
            return True
        protocol, rest = self.transport
        return protocol == socket.IPPROTO_ICMPV6 and rest[0] in _KERNELS_ICMPV6

    @property
    def tcp_flags(self) -> int:
        """The flags of a TCP segment; 0 for all else."""
        if self.kernels_own:
            return 0
        protocol, rest = self.transport
        return rest[13] if protocol == socket.IPPROTO_TCP else 0

    @property
    def tcp_payload(self) -> int:
        """How many octets of a connection's data it carries."""
        if not self.tcp_flags:
            return 0
        _protocol, rest = self.transport
        return self.octets - (len(self.head) - len(rest)) - (rest[12] >> 4) * 4

    def inside(self, outer: int) -> Frame | None:
        """Return what a tunnel carries behind ``outer`` octets, if it is a tunnel's datagram."""
        if self.ethertype != _IPV4 or self.transport[0] != socket.IPPROTO_UDP:
            return None
        ethertype = int.from_bytes(self.head[outer - 2 : outer], "big")
        return Frame(self.outgoing, ethertype, self.octets - outer, self.head[outer:])


class Capture:
    """What was captured so far."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._frames: list[Frame] = []

    def frames(self, wanted: Callable[[Frame], bool] = lambda _frame: True) -> list[Frame]:
        """Return the frames so far that are ``wanted``; AssertionError if one was missed."""
        if self._raw.fileno() < 0:
            return []
        with contextlib.suppress(BlockingIOError):
            while True:
                self._frames.append(self._next())
        _seen, dropped = struct.unpack(
            "=II", self._raw.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        )
        assert not dropped, f"the capture missed {dropped} frames"
        return [frame for frame in self._frames if wanted(frame)]

    def forget(self) -> None:
        """Begin anew."""
        self.frames()
        self._frames.clear()

    def close(self) -> None:
        """Capture no more; from now on there are no frames."""
        self._raw.close()
        self._frames.clear()

    def _next(self) -> Frame:
        buffer = bytearray(_SNAP)
        # With MSG_TRUNC the size is the frame's, not that of what fitted.
        flags = socket.MSG_TRUNC | socket.MSG_DONTWAIT
        size, (_, ethertype, kind, *_) = self._raw.recvfrom_into(buffer, _SNAP, flags)
        return Frame(
            kind == socket.PACKET_OUTGOING,
            ethertype,
            size - _ETHERNET_HEADER,
            bytes(buffer[_ETHERNET_HEADER:size]),
        )


@contextlib.contextmanager
def captured(netns: Netns, device: str) -> Iterator[Capture]:
    """Capture what ``device`` in ``netns`` sends and receives."""
    with netns.entered():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        with contextlib.closing(raw):
            raw.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            raw.bind((device, _ETH_P_ALL))
            yield Capture(raw)
