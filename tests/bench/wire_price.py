# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What exactness and the splits cost: nanoseconds a packet, as hot_path measures them.

The program without any of this is the bare one: two atomic adds of skb->len and one.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from collectd_cgacct.counters import SPLITS

from . import measure
from .objects import HERE, OURS, Program, compile_bpf
from .packets import Packet, gso, tcp6, udp

_EMPTY = "an empty program"
_BARE = "two atomic adds, bare"
_OFF = "all splits off"

_UDP = udp(1400)
_TCP6 = tcp6(1400)
_GSO4, _GSO6 = gso(4), gso(6)


@dataclass(frozen=True)
class Case:
    """Splits that are on, and the packet that our program gets."""

    name: str
    packet: Packet = _UDP
    splits: tuple[str, ...] = ()


CASES = (
    Case(_OFF),
    Case("split by family", splits=("family",)),
    Case("split by scope", splits=("scope",)),
    Case("split by protocol, IPv4", splits=("protocol",)),
    Case("split by protocol, IPv6", _TCP6, ("protocol",)),
    Case("split by protocol, two extension headers", tcp6(1400, 2), ("protocol",)),
    Case("all three splits, IPv4", splits=tuple(SPLITS)),
    Case("a GSO packet of 23 segments, IPv4", _GSO4),
    Case("a GSO packet of 23 segments, IPv6", _GSO6),
    Case("the same and all three splits, IPv6", _GSO6, tuple(SPLITS)),
)


def run(tiny: bool) -> None:
    """Measure, and print the table and the claim."""
    rounds, repeat = (1, 1000) if tiny else (21, 1_000_000)
    with (
        tempfile.TemporaryDirectory(prefix="cgacct-bench-") as directory,
        measure.pinned(),
        _timers(Path(directory), repeat) as timers,
    ):
        measure.interleave(timers, 1)  # caches, branch predictor, clock rate
        walls = measure.medians(measure.interleave(timers, rounds))
    _print(walls, rounds, repeat)


@contextlib.contextmanager
def _timers(directory: Path, repeat: int) -> Iterator[dict[str, Callable[[], float]]]:
    empty = compile_bpf(HERE / "empty.bpf.c", directory / "empty.bpf.o")
    bare = compile_bpf(HERE / "bare.bpf.c", directory / "bare.bpf.o")
    with contextlib.ExitStack() as stack:

        def timer(
            path: Path, name: str, packet: Packet, splits: tuple[str, ...] = ()
        ) -> Callable[[], float]:
            program = stack.enter_context(contextlib.closing(Program(path, name, splits)))
            return lambda: program.run(packet, repeat)[0] / repeat * 1e9

        timers = {_EMPTY: timer(empty, "count", _UDP), _BARE: timer(bare, "count", _UDP)}
        for case in CASES:
            timers[case.name] = timer(OURS, "count_ingress", case.packet, case.splits)
        yield timers


def _print(walls: dict[str, float], rounds: int, repeat: int) -> None:
    net = {name: wall - walls[_EMPTY] for name, wall in walls.items() if name != _EMPTY}
    measure.table(
        f"wire_price: medians of {rounds} rounds of {repeat:,} packets each",
        ("program and packet", "ns/packet", "more than off", "ratio to off"),
        [(name, one, one - net[_OFF], one / net[_OFF]) for name, one in net.items()],
    )
    print(f"\nsubtracted: {walls[_EMPTY]:.2f} ns of an empty program")
    measure.claim("all splits off / two atomic adds, bare", net[_OFF] / net[_BARE], 1.05)
