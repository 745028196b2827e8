# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""Two network namespaces joined by veth, so that a device of the near one counts real frames.

Without offloads the kernel cuts every packet into segments before it hands it to the
device: what the device counts, less 14 octets of Ethernet a frame, is what a wire would
carry. Neighbours are static, so that there is no traffic but that of the test, and
what IPv6 itself sends.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

from .cgroups import wait_for
from .netns import Device, Netns, temporary_netns

NEAR = {socket.AF_INET: "10.23.0.1", socket.AF_INET6: "fd23::1"}
FAR = {socket.AF_INET: "10.23.0.2", socket.AF_INET6: "fd23::2"}
_PREFIX = {socket.AF_INET: 24, socket.AF_INET6: 64}
_MAC = {"near": "02:00:00:00:00:01", "far": "02:00:00:00:00:02"}
ETHERNET_HEADER = 14
# An ethertype for experiments (RFC 5342), and some data.
_LENGTH = 46
_NOBODYS = b"\x88\xb5" + bytes(_LENGTH)
_OFFLOADS = ["tso", "gso", "gro", "tx-udp-segmentation"]


class Lab:
    """The cgroup under test is in ``near``, its peer in ``far``; so the devices are called too."""

    def __init__(self, near: Netns, far: Netns) -> None:
        self.near = near
        self.far = far
        # With GRO on, newer kernels count what veth receives without the Ethernet header.
        (self._uncounted,) = wait_for(self._try_a_frame, "a moment without traffic")

    def _try_a_frame(self) -> list[int]:
        """Return by how many octets a frame is counted short; nothing if other frames came."""
        with self.far.entered():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        before = self.near.device("near")
        with raw:
            raw.bind(("far", 0))
            raw.send(bytes.fromhex(_MAC["near"].replace(":", "")) + bytes(6) + _NOBODYS)
        wait_for(lambda: self.near.device("near") != before, "the frame")
        found = self.near.device("near").since(before)
        return [_LENGTH - found.rx_bytes] if found.rx_packets == 1 else []

    def devices(self) -> Device:
        """Return what the near device carried, Ethernet headers left out."""
        found = self.near.device("near")
        return found._replace(rx_bytes=found.rx_bytes + self._uncounted * found.rx_packets)

    def set_mtu(self, mtu: int) -> None:
        """Set the MTU of both devices."""
        for netns, name in ((self.near, "near"), (self.far, "far")):
            netns.run("ip", "link", "set", name, "mtu", str(mtu))

    def lose(self, percent: int) -> None:
        """Drop frames at random: on receipt at the far end, and before it sends.

        So the near device counts what is lost on the way there, and neither end what is
        lost on the way back.
        """
        drop = f"numgen random mod 100 < {percent} counter name lost drop"
        rules = f"""
            table netdev lossy {{
                counter lost {{ }}
                chain there {{ type filter hook ingress device far priority 0; {drop}; }}
            }}
            table inet lossy {{
                counter lost {{ }}
                chain back {{ type filter hook output priority 0; {drop}; }}
            }}
        """
        self.far.run("nft", "-f", "-", input=rules)

    def lost(self) -> int:
        """Return how many frames were dropped on receipt at the far end."""
        found = json.loads(self.far.run("nft", "-j", "list", "counter", "netdev", "lossy", "lost"))
        (counter,) = (one["counter"] for one in found["nftables"] if "counter" in one)
        return int(counter["packets"])

    def socket(
        self,
        side: str,
        family: socket.AddressFamily,
        kind: socket.SocketKind,
        protocol: int = 0,
    ) -> socket.socket:
        """Make a socket in the namespace ``side``, with a time limit."""
        with (self.near if side == "near" else self.far).entered():
            made = socket.socket(family, kind, protocol)
        made.settimeout(10)
        return made


def switch_off_offloads(netns: Netns, device: str) -> None:
    """Let ``device`` send and receive nothing but real frames."""
    netns.run("ethtool", "-K", device, *(word for name in _OFFLOADS for word in (name, "off")))


def add_addresses(netns: Netns, device: str, addresses: dict[socket.AddressFamily, str]) -> None:
    """Give ``device`` its addresses, and wait until they are in use."""
    for family, address in addresses.items():
        prefix = f"{address}/{_PREFIX[family]}"
        extra = ["nodad"] if family == socket.AF_INET6 else []
        netns.run("ip", "address", "add", prefix, "dev", device, *extra)
    # Linux makes the route by which an IPv6 address receives a little later.
    routes = ("ip", "-6", "route", "show", "table", "local")
    if socket.AF_INET6 in addresses:
        there = addresses[socket.AF_INET6]
        wait_for(lambda: there in netns.run(*routes).split(), f"a route to {there}")


def _prepare(
    netns: Netns,
    device: str,
    peer: str,
    addresses: dict[socket.AddressFamily, str],
    peers: dict[socket.AddressFamily, str],
) -> None:
    netns.run("ip", "link", "set", device, "address", _MAC[device], "addrgenmode", "none", "up")
    switch_off_offloads(netns, device)
    add_addresses(netns, device, addresses)
    for address in peers.values():
        netns.run(
            "ip",
            "neighbour",
            "replace",
            address,
            "lladdr",
            _MAC[peer],
            "dev",
            device,
            "nud",
            "permanent",
        )


@contextlib.contextmanager
def lab(mtu: int = 1500, gro: bool = False) -> Iterator[Lab]:
    """Make the two namespaces; all of it goes with them.

    With ``gro`` the near end joins what it receives, after its device has counted the frames.
    """
    with temporary_netns() as near, temporary_netns() as far:
        near.run(
            "ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far.path
        )
        _prepare(near, "near", "far", NEAR, FAR)
        _prepare(far, "far", "near", FAR, NEAR)
        if gro:
            near.run("ethtool", "-K", "near", "gro", "on")
        made = Lab(near, far)
        made.set_mtu(mtu)
        yield made
