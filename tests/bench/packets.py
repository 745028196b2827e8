# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The packets that programs are run on by BPF_PROG_TEST_RUN."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_ETHERNET = bytes(12) + struct.pack("!H", 0x0800)
_LOOPBACK = bytes([127, 0, 0, 1])


@dataclass(frozen=True)
class Packet:
    """A frame, from which the kernel strips the Ethernet header before it runs a program."""

    frame: bytes

    @property
    def length(self) -> int:
        """Octets at L3, IP header included: what a program finds in skb->len."""
        return len(self.frame) - len(_ETHERNET)


def udp(length: int) -> Packet:
    """Return an IPv4 UDP packet of ``length`` octets at L3."""
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 17, 0) + _LOOPBACK + _LOOPBACK
    header = struct.pack("!HHHH", 1000, 1001, length - 20, 0)
    return Packet(_ETHERNET + ip + header + bytes(length - 28))
