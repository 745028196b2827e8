# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The packets that programs are run on by BPF_PROG_TEST_RUN."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_IPV4, _IPV6 = 0x0800, 0x86DD
_ETHERNET_HEADER = 14
_LOOPBACK = {_IPV4: bytes([127, 0, 0, 1]), _IPV6: bytes(15) + b"\1"}
_TCP, _UDP, _DESTINATION_OPTIONS = 6, 17, 60
# struct __sk_buff of linux/bpf.h: its size, and the offsets of gso_segs and gso_size.
_CONTEXT_SIZE, _GSO_SEGS, _GSO_SIZE = 192, 164, 176


@dataclass(frozen=True)
class Packet:
    """A frame, from which the kernel strips the Ethernet header before it runs a program.

    With ``segments`` it stands for so many packets of ``segment_size`` octets of data.
    """

    frame: bytes
    segments: int = 0
    segment_size: int = 0

    @property
    def length(self) -> int:
        """Octets at L3, IP header included: what a program finds in skb->len."""
        return len(self.frame) - _ETHERNET_HEADER

    @property
    def context(self) -> bytes:
        """The struct __sk_buff to begin with; empty if there is nothing to say in it."""
        if not self.segments:
            return b""
        context = bytearray(_CONTEXT_SIZE)
        struct.pack_into("=I", context, _GSO_SEGS, self.segments)
        struct.pack_into("=I", context, _GSO_SIZE, self.segment_size)
        return bytes(context)


def _frame(ethertype: int, header: bytes, body: bytes) -> bytes:
    addresses = 2 * _LOOPBACK[ethertype]
    return bytes(12) + struct.pack("!H", ethertype) + header + addresses + body


def _ipv4(protocol: int, body: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    return _frame(_IPV4, header, body)


def _ipv6(protocol: int, body: bytes) -> bytes:
    return _frame(_IPV6, struct.pack("!IHBB", 6 << 28, len(body), protocol, 64), body)


def _tcp(payload: int) -> bytes:
    return struct.pack("!HHIIBBHHH", 1000, 1001, 0, 0, 0x50, 0x10, 0, 0, 0) + bytes(payload)


def udp(length: int) -> Packet:
    """Return an IPv4 UDP packet of ``length`` octets at L3."""
    header = struct.pack("!HHHH", 1000, 1001, length - 20, 0)
    return Packet(_ipv4(_UDP, header + bytes(length - 28)))


def tcp6(length: int, extensions: int = 0) -> Packet:
    """Return an IPv6 TCP packet of ``length`` octets at L3, behind so many extension headers."""
    body = _tcp(length - 60 - 8 * extensions)
    for number in range(extensions):
        body = struct.pack("!BB", _DESTINATION_OPTIONS if number else _TCP, 0) + bytes(6) + body
    return Packet(_ipv6(_DESTINATION_OPTIONS if extensions else _TCP, body))


def gso(version: int) -> Packet:
    """Return a TCP packet that stands for 23 on the wire; small, as only its headers are read."""
    make, segments, size = (_ipv4 if version == 4 else _ipv6), 23, 50
    return Packet(make(_TCP, _tcp(segments * size)), segments, size)
