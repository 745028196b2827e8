# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Link attributes that the ip command of Debian 12 does not know."""

from __future__ import annotations

import os
import socket
import struct

# enum in linux/if_link.h
IFLA_GSO_MAX_SIZE = 41
IFLA_GRO_MAX_SIZE = 58
IFLA_GSO_IPV4_MAX_SIZE = 63
IFLA_GRO_IPV4_MAX_SIZE = 64

_RTM_NEWLINK = 16
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLMSG_ERROR = 2


def set_link(index: int, attributes: dict[int, int]) -> None:
    """Set numeric attributes of the device ``index`` in this thread's network namespace."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
    for kind, value in attributes.items():
        body += struct.pack("=HHI", 8, kind, value)
    header = struct.pack("=IHHII", 16 + len(body), _RTM_NEWLINK, _NLM_F_REQUEST | _NLM_F_ACK, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(header + body)
        answer = netlink.recv(4096)
    _length, kind, _flags, _sequence, _pid, error = struct.unpack_from("=IHHIIi", answer)
    assert kind == _NLMSG_ERROR
    if error:
        raise OSError(-error, os.strerror(-error), f"set attributes of link {index}")
