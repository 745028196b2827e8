# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""What the programs count, the sums over CPUs, and the parts that they split into. Pure.

Counters is the twin of struct cgacct_counters in bpf/cgacct.h, SPLITS of the enums there.
"""

from __future__ import annotations

import itertools
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

# All counters of one cgroup, summed over CPUs: the fields of Counters for each cell, one
# cell after another.
Values = tuple[int, ...]


class Counters(NamedTuple):
    """Octets at L3 and packets: rx is ingress, tx is egress. Cumulative."""

    rx_bytes: int = 0
    rx_packets: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0


FIELDS = len(Counters._fields)
SIZE = FIELDS * 8
# Changes when the counters, or what is kept beside them, mean something else than before.
VERSION = 1

# Each split's parts. Of the splits that are on, the kernel varies the last fastest.
SPLITS: dict[str, tuple[str, ...]] = {
    "protocol": ("tcp", "udp", "icmp", "other"),
    "family": ("ipv4", "ipv6"),
    "scope": ("loopback", "external"),
}


class Layout:
    """Which cells a cgroup's counters have, and which of them belong to a part.

    ``size`` is in octets for each CPU, ``fields`` in numbers; ``switches`` is what the
    programs are told: struct cgacct_switches.
    """

    def __init__(self, splits: Iterable[str] = ()) -> None:
        wanted = frozenset(splits)
        if not wanted <= SPLITS.keys():
            raise ValueError(f"no such split: {', '.join(sorted(wanted - SPLITS.keys()))}")
        self.splits = tuple(name for name in SPLITS if name in wanted)
        cells = list(itertools.product(*(SPLITS[name] for name in self.splits)))
        self.fields = len(cells) * FIELDS
        self.size = len(cells) * SIZE
        mask = sum(1 << bit for bit, name in enumerate(SPLITS) if name in wanted)
        self.switches = struct.pack("=II", mask, len(cells) - 1)
        self._parts = {
            part: [number for number, parts in enumerate(cells) if part in parts]
            for name in self.splits
            for part in SPLITS[name]
        }

    def total(self, values: Sequence[int]) -> Counters:
        """Return the sum of all cells."""
        return Counters(*(sum(values[field::FIELDS]) for field in range(FIELDS)))

    def parts(self, values: Sequence[int]) -> dict[str, Counters]:
        """Return each part's sum; those of one split add up to the total."""
        return {
            part: Counters(
                *(sum(values[cell * FIELDS + field] for cell in cells) for field in range(FIELDS))
            )
            for part, cells in self._parts.items()
        }


class CpuSums:
    """Sums many per-CPU values at once.

    A value is ``cpus`` slots, one after another, of ``width`` unsigned 64-bit numbers.
    """

    def __init__(self, width: int, cpus: int, byteorder: str = sys.byteorder) -> None:
        self._byteorder = byteorder
        self._slot_bits = width * 64
        self._cpus = cpus
        # The sum of all slots comes to stand where the first was; in the last on big endian.
        rest = width * 8 * (cpus - 1)
        little = byteorder == "little"
        self._unpack = struct.Struct(f"<{width}Q{rest}x" if little else f">{rest}x{width}Q")

    def __call__(self, values: bytes) -> Iterator[Values]:
        """Yield the sums of each of ``values``."""
        # Bytes taken as one long number, an addition adds all slots of all values. No
        # counter reaches 2**64, so that none carries into its neighbour.
        slots = int.from_bytes(values, self._byteorder)  # type: ignore[arg-type]
        sums, summed = slots, 1
        for bit in bin(self._cpus)[3:]:
            sums += sums >> (summed * self._slot_bits)
            summed *= 2
            if bit == "1":
                sums = slots + (sums >> self._slot_bits)
                summed += 1
        packed = sums.to_bytes(len(values), self._byteorder)  # type: ignore[arg-type]
        return self._unpack.iter_unpack(packed)
